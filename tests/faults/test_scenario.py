# SPDX-License-Identifier: LGPL-2.1-or-later
"""A scenario that is wrong is refused with file, line and place."""

import subprocess

import pytest
from simhost import MIGPOLICYD


@pytest.mark.parametrize("text,expected", [
    ('{"domains": [{"name": "a"}]}', 'line 1: /domains/0/guest'),
    ('{"time_factor": 0}', 'line 1: /time_factor: must be a number'),
    ('{\n"domain": []}', 'line 1: has an unknown key'),
    ('{"domains":\n 3}', 'line 2: /domains: must be an array'),
    ('{', 'line 1: '),
])
def test_refused(tmp_path, text, expected):
    (tmp_path / "s.json").write_text(text)
    (tmp_path / "c.json").write_text("{}")
    run = subprocess.run(
        [MIGPOLICYD, "--connect", f"sim:{tmp_path}/s.json", "--config", tmp_path / "c.json",
         "--state-dir", tmp_path / "state", "--run-dir", tmp_path / "run"],
        capture_output=True, text=True, timeout=10)
    assert run.returncode == 1
    assert expected in run.stderr
    assert run.stderr.count("\n") == 1
