# SPDX-License-Identifier: LGPL-2.1-or-later
"""A scenario that is wrong is refused with file, line and place; the example runs."""

import json
import os
import pathlib
import subprocess
import time

import pytest
from simhost import MIGPOLICY, MIGPOLICYD, PATIENCE_S


@pytest.mark.parametrize("text,expected", [
    ('{"domains": [{"name": "a"}]}', 'line 1: /domains/0/guest'),
    ('{"time_factor": 0}', 'line 1: /time_factor: must be a number'),
    ('{\n"domain": []}', 'line 1: has an unknown key'),
    ('{"domains":\n 3}', 'line 2: /domains: must be an array'),
    ('{"domains": [{"name": "a", "uuid": "b"}]}', 'line 1: /domains/0/uuid: must be a UUID'),
    ('{', 'line 1: '),
])
def test_refused(tmp_path, text, expected):
    (tmp_path / "s.json").write_text(text)
    (tmp_path / "c.json").write_text("{}")
    run = subprocess.run(
        [MIGPOLICYD, "--connect", f"sim:{tmp_path}/s.json", "--config", tmp_path / "c.json",
         "--state-dir", tmp_path / "state", "--run-dir", tmp_path / "run"],
        capture_output=True, text=True, timeout=PATIENCE_S)
    assert run.returncode == 1
    assert expected in run.stderr
    assert run.stderr.count("\n") == 1


def test_the_example_runs_for_any_user_and_takes_that_users_orders(tmp_path):
    tmp_path.chmod(0o777)
    scenario = pathlib.Path(__file__).parents[2] / "etc/scenario.json"
    text = json.loads(scenario.read_text())
    text["time_factor"] = 10
    (tmp_path / "s.json").write_text(json.dumps(text))
    (tmp_path / "c.json").write_text("{}")
    as_nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"]
    wrapper = ["setpriv", "--pdeathsig", "TERM", *(as_nobody if os.geteuid() == 0 else [])]
    cli = [*wrapper, MIGPOLICY, "--socket", tmp_path / "run/io.migpolicy"]
    with subprocess.Popen(
        [*wrapper, MIGPOLICYD, "--connect", f"sim:{tmp_path}/s.json", "--config", tmp_path / "c.json",
         "--state-dir", tmp_path / "state", "--run-dir", tmp_path / "run",
         "--metrics-listen", "127.0.0.1:0"], stderr=subprocess.DEVNULL) as daemon:
        try:
            end = time.monotonic() + 60
            while subprocess.run([*cli, "set", "busy", "--allow-throttle"],
                                 capture_output=True).returncode != 0:
                assert daemon.poll() is None and time.monotonic() < end
                time.sleep(0.05)
            done = subprocess.run([*cli, "wait", "busy", "--timeout", "120s"], capture_output=True,
                                  text=True)
            while done.returncode == 6 and time.monotonic() < end:  # it does not migrate yet
                time.sleep(0.05)
                done = subprocess.run([*cli, "wait", "busy", "--timeout", "120s"],
                                      capture_output=True, text=True)
            assert (done.returncode, "completed" in done.stdout) == (0, True), done
        finally:
            daemon.terminate()
