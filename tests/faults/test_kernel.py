# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real agent and the kernel's own cgroups, without libvirt: a guest that a dead agent left slow."""

import json
import subprocess
import time

import pytest
from simhost import BUILD, MIGPOLICY, PATIENCE_S


class Guest:
    """In groups as libvirt's, with its journal in run_dir."""

    def __init__(self, run_dir):
        self.process = subprocess.Popen([BUILD / "tests/faults/campaign", "--guest", run_dir],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.mount = self.process.stdout.readline().strip()

    def is_slow(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip() == "slow"


@pytest.fixture
def guest(tmp_path):
    (tmp_path / "run").mkdir()
    guest = Guest(tmp_path / "run")
    if not guest.mount and guest.process.wait() == 77:
        pytest.skip("no cgroups may be made here")
    yield guest
    guest.process.stdin.close()
    assert guest.process.wait() == 0


def wait(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_with_read_only_cgroups_a_start_says_what_is_left_and_restores_it_when_they_are_writable(
        guest, tmp_path):
    assert guest.is_slow()
    config = tmp_path / "migpolicyd.json"
    config.write_text("{}")
    agent = subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", "unshare", "-m", "sh", "-c",
         f'mount -o remount,bind,ro {guest.mount} && exec "$@"', "sh",
         BUILD / "agent/migpolicyd", "--connect", "test:///default", "--config", config,
         "--state-dir", tmp_path / "state", "--run-dir", tmp_path / "run", "--metrics-listen", ""],
        stderr=subprocess.PIPE, text=True)

    def leftovers():
        assert agent.poll() is None, agent.stderr.read()
        done = subprocess.run([MIGPOLICY, "--socket", tmp_path / "run/io.migpolicy", "status", "--json"],
                              capture_output=True, text=True)
        return json.loads(done.stdout)["leftovers"] if done.returncode == 0 else None

    try:
        wait(leftovers)
        left = leftovers()[0]
        assert (left["vm"], left["why"]) == ("campaign", "Read-only file system")
        assert guest.is_slow()
        subprocess.run(["nsenter", "-t", str(agent.pid), "-m", "mount", "-o", "remount,bind,rw",
                        guest.mount], check=True)
        wait(lambda: not guest.is_slow())
        wait(lambda: leftovers() == [])
    finally:
        agent.terminate()
        said = agent.communicate()[1]
    assert agent.returncode == 0, said
    assert said.count("cannot restore its vCPU quotas: Read-only file system") == 1
    assert "failed tries" in said
    assert not list((tmp_path / "run/undo").iterdir())
