# SPDX-License-Identifier: LGPL-2.1-or-later
"""Migrations are seen at once, whoever drives them."""

import subprocess
from datetime import datetime

import pytest

from lab import PATIENCE_S, Agent, Output, wait_until


@pytest.mark.parametrize("mode", ["--p2p", "--direct"])
def test_it_is_detected_before_its_first_pass_is_over(lab, agent, guest, mode):
    command = ("virsh", "a", "event", "--event", "migration-iteration", "--loop", "--timestamp")
    listener = lab.spawn(*command, stdout=subprocess.PIPE)
    try:
        heard = Output(listener.stdout)
        guest.migrate(mode)
        detected = wait_until(lambda: agent.find("outgoing migration detected"), "detected")
        wait_until(lambda: agent.status(guest), "a first status")
        second = f"'{guest.name}': iteration: '2'"
        wait_until(lambda: heard.find(second), "a second pass")
    finally:
        listener.terminate()
        listener.wait(PATIENCE_S)
    heard.join()
    stamp = heard.find(second)[0][1].split(": ")[0]
    assert detected[0][0] < datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S.%f%z").timestamp()


def test_a_migration_that_runs_already_when_the_agent_starts_is_found(lab, guest):
    guest.migrate()
    wait_until(guest.is_migrating, "the migration runs")
    with Agent(lab) as agent:
        wait_until(lambda: agent.status(guest), "a first status")
        assert agent.status(guest)["active"]
        assert agent.metric("migpolicy_migrations_started_total") == 1


def test_a_retry_at_once_is_followed_and_the_failure_before_it_is_told(agent, guest):
    detected = "outgoing migration detected"
    guest.migrate()
    wait_until(lambda: agent.find(detected), "detected")
    lab = guest.lab
    lab.virsh("a", "domjobabort", guest.name)
    wait_until(lambda: guest.clients[-1].poll() is not None, "its client knows")
    guest.migrate()
    wait_until(lambda: len(agent.find(detected)) == 2, "the retry is detected")
    wait_until(lambda: (agent.status(guest) or {}).get("active"), "it has a status")
    assert len(agent.find(f"{guest.name}: .*migration failed")) == 1
