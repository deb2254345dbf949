# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Real migrations of real guests, as root, with what `tests/setup lab test` installs:

    MIGPOLICY_BUILD=build /usr/bin/python3 -m pytest tests/system

One laboratory serves the whole session; it goes down however the session ends.
"""

import logging
import os
import signal
import tempfile

import pytest

from lab import MIGPOLICYD, Agent, Guest, Lab, go_first, log


def pytest_configure():
    log.setLevel(logging.INFO)
    # As if by Ctrl-C, so that fixtures are torn down.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)


@pytest.fixture(scope="session")
def lab():
    assert os.geteuid() == 0, "the system tests need root"
    assert MIGPOLICYD.exists(), "MIGPOLICY_BUILD must name the build directory"
    # Not below the session's own temporary directory: socket paths are short.
    laboratory = Lab(tempfile.mkdtemp(prefix="migpolicy-"))
    laboratory.directory.chmod(0o755)  # it is the modes of sockets that are tested
    try:
        go_first()
        laboratory.up()
        yield laboratory
    finally:
        laboratory.run("down")


@pytest.fixture
def agent(lab):
    with Agent(lab) as running:
        yield running


@pytest.fixture
def guest(lab):
    with Guest(lab) as running:
        yield running
