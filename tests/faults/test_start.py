# SPDX-License-Identifier: LGPL-2.1-or-later
"""Start and restore: in which order, and who else is at work."""

import os
import signal
import subprocess
import time

import pytest
from simhost import BUILD, MIGPOLICYD, PATIENCE_S, Host


def restore(host, *args):
    return subprocess.run([MIGPOLICYD, "--restore", *args, "--run-dir", host.dir / "run",
                           "--state-dir", host.state_dir],
                          capture_output=True, text=True, timeout=PATIENCE_S)


def stop(host):
    host.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, host.process.pid, os.WSTOPPED | os.WNOWAIT)


def test_restore_leaves_the_guests_of_an_agent_that_runs_to_it_and_says_who_it_is():
    with Host([], []) as host:
        done = restore(host)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done
        assert f"process {host.process.pid}, which is running" in done.stderr
        assert "migpolicy release" in done.stderr and "--force" in done.stderr
        forced = restore(host, "--force")
        assert forced.returncode == 0, forced
        assert f"process {host.process.pid}, which is running" in forced.stderr
        assert host.is_serving()


def test_restore_helps_the_guests_of_an_agent_that_is_stopped():
    with Host([], []) as host:
        stop(host)
        try:
            done = restore(host)
        finally:
            host.process.send_signal(signal.SIGCONT)
        assert done.returncode == 0, done
        assert f"process {host.process.pid}, which is stopped" in done.stderr
        host.wait(host.is_serving)


def test_restore_helps_the_guests_of_an_agent_whose_loop_hangs():
    with Host([], []) as host:
        lock = host.dir / "run/lock"
        before = lock.stat().st_mtime_ns
        host.wait(lambda: lock.stat().st_mtime_ns > before)  # its loop beats
        stop(host)
        try:
            os.utime(lock, times=(time.time() - 60, time.time() - 60))
            # The state of a process that hangs is not that of a stopped one.
            sleeper = subprocess.Popen(["sleep", "600"])
            lock.write_text(f"{sleeper.pid}\n")
            os.utime(lock, times=(time.time() - 60, time.time() - 60))
            done = restore(host)
        finally:
            sleeper.kill()
            sleeper.wait()
            host.process.send_signal(signal.SIGCONT)
        assert done.returncode == 0, done
        assert f"process {sleeper.pid}, which hangs: nothing has been heard of it for 6" in done.stderr


def test_force_belongs_to_restore():
    done = subprocess.run([MIGPOLICYD, "--force"], capture_output=True, text=True)
    assert done.returncode == 2 and "--restore" in done.stderr


@pytest.mark.parametrize("broken", ["configuration", "state directory"])
def test_guests_are_restored_before_anything_that_may_be_broken(tmp_path, broken):
    config = tmp_path / "migpolicyd.json"
    config.write_text("{" if broken == "configuration" else "{}")
    state = tmp_path / "state"
    if broken == "state directory":
        state.write_text("not a directory")
    undo = tmp_path / "run/undo"
    undo.mkdir(parents=True, mode=0o700)
    (undo / "6f1c9c1e-3a55-4b6e-9c0d-0123456789ab.json").write_text("not a journal")
    done = subprocess.run([BUILD / "agent/migpolicyd", "--config", config, "--state-dir", state,
                           "--run-dir", tmp_path / "run"],
                          capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1
    said = done.stderr.splitlines()
    at = next(i for i, line in enumerate(said) if "at the start 0 VMs" in line and "1 could not" in line)
    assert any("its journal cannot be understood" in line for line in said[:at])
    if broken == "configuration":
        assert len(said) == at + 2 and "migpolicyd.json" in said[at + 1]
    else:
        assert str(state) in done.stderr


def test_the_result_of_the_restore_at_the_start_is_a_metric():
    with Host([], []) as host:
        assert host.metric("migpolicy_start_restored_domains") == 0
        assert host.metric("migpolicy_start_left_domains") == 0
