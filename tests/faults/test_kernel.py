# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real agent and the kernel's own cgroups, without libvirt: a guest that a dead agent left slow."""

import json
import resource
import subprocess
import time

import pytest
from simhost import BUILD, MIGPOLICY, PATIENCE_S, Guest


@pytest.fixture
def guest(tmp_path):
    (tmp_path / "run").mkdir()
    guest = Guest("--guest", tmp_path / "run")
    if guest.may_not_be():
        pytest.skip("no cgroups may be made here")
    yield guest
    guest.remove()


def wait(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("then", ["nothing", "no descriptors"])
def test_what_the_start_cannot_restore_is_told_and_restored_when_the_causes_have_gone(
        guest, tmp_path, then):
    assert guest.is_slow()
    config = tmp_path / "migpolicyd.json"
    config.write_text("{}")
    log = tmp_path / "log"
    with log.open("w") as stderr:
        agent = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "unshare", "-m", "sh", "-c",
             f'mount -o remount,bind,ro {guest.mount} && exec "$@"', "sh",
             BUILD / "agent/migpolicyd", "--connect", "test:///default", "--config", config,
             "--state-dir", tmp_path / "state", "--run-dir", tmp_path / "run", "--metrics-listen", ""],
            stderr=stderr)

    def leftovers():
        assert agent.poll() is None, log.read_text()
        done = subprocess.run([MIGPOLICY, "--socket", tmp_path / "run/io.migpolicy", "status", "--json"],
                              capture_output=True, text=True)
        return json.loads(done.stdout)["leftovers"] if done.returncode == 0 else None

    try:
        wait(leftovers)
        left = leftovers()[0]
        assert (left["vm"], left["why"]) == ("campaign", "Read-only file system")
        if then == "no descriptors":
            resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (3, 1024))
            wait(lambda: "cannot be listed: Too many open files" in log.read_text())
        subprocess.run(["nsenter", "-t", str(agent.pid), "-m", "mount", "-o", "remount,bind,rw",
                        guest.mount], check=True)
        if then == "no descriptors":
            assert guest.is_slow()
            resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (1024, 1024))
        wait(lambda: not guest.is_slow())
        wait(lambda: leftovers() == [])
    finally:
        agent.terminate()
        assert agent.wait() == 0, log.read_text()
    assert log.read_text().count("cannot restore its vCPU quotas: Read-only file system") == 1
    assert "failed tries" in log.read_text()
    assert not list((tmp_path / "run/undo").iterdir())
