# SPDX-License-Identifier: LGPL-2.1-or-later
"""Parts of the host are missing: said in one line, and all that is possible still works."""

import os
import signal
import time

import pytest

from lab import UNLIMITED, Agent, wait_until


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param("mount -o remount,bind,ro", "permission|Read-only", id="read-only"),
        pytest.param("umount", "no cgroup cpu controller", id="missing"),
    ],
)
def test_without_the_cpu_cgroups_a_migration_is_observed_but_not_throttled(
    lab, guest, change, reason
):
    script = f'{change} /sys/fs/cgroup/cpu && exec "$@"'
    with Agent(lab, wrapper=("unshare", "-m", "sh", "-c", script, "sh")) as agent:
        agent.set(guest, "--allow-throttle")
        guest.migrate()
        wait_until(lambda: (agent.status(guest) or {}).get("iteration", 0) >= 5, "pass 5")
        complaints = agent.find(f"{guest.name}: .*({reason})")
        assert len(complaints) == 1, agent.log.text()
        assert guest.quota() == UNLIMITED
        assert guest.is_migrating()
        assert not agent.events(guest, result="applied")
        assert not list((agent.directory / "run/undo").glob("*"))


def test_an_agent_started_before_libvirtd_waits_for_it_and_says_so_once(lab, guest):
    os.kill(lab.libvirtd("a"), signal.SIGKILL)
    agent = Agent(lab)
    try:
        agent.start()
        assert agent.metric("migpolicy_libvirt_up") == 0
        time.sleep(3.5)  # three attempts
        assert len(agent.find("cannot connect to libvirt")) == 1
        assert "no connection to libvirt" in agent.cli("status").stderr
        lab.up()
        wait_until(lambda: agent.find("connected to libvirt at"), "it connects")
        assert agent.metric("migpolicy_libvirt_up") == 1
        guest.migrate()
        wait_until(lambda: agent.status(guest), "a migration is seen")
    finally:
        agent.__exit__()
        lab.up()
