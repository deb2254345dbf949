# SPDX-License-Identifier: LGPL-2.1-or-later
"""Some of the rounds of docs/reliability.md."""

import pathlib
import subprocess

import pytest
from simhost import BUILD


def test_whatever_call_fails_or_is_the_last_the_guest_is_as_found_and_nothing_is_left():
    done = subprocess.run([BUILD / "tests/faults/campaign", "--every", "7"],
                          capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("no cgroups may be made here")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" 0 wrong") == 4


def test_whatever_breaks_around_the_daemon_every_guest_is_as_found_and_it_serves():
    """A round of each kind, at a random moment; the seed repeats it."""
    done = subprocess.run([pathlib.Path(__file__).parent / "rounds", "--rounds", "1", "--at-once", "32"],
                          capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip("no cgroups may be made here")
    assert done.returncode == 0, done.stdout + done.stderr
