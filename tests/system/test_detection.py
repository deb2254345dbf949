# SPDX-License-Identifier: LGPL-2.1-or-later
"""Migrations are seen at once, whoever drives them."""

import subprocess
from datetime import datetime

import pytest

from lab import Agent, Output, wait_until


@pytest.mark.parametrize("mode", ["--p2p", "--direct"])
def test_it_is_detected_within_half_a_second_of_its_memory_phase(lab, agent, guest, mode):
    command = ("virsh", "a", "event", "--event", "migration-iteration", "--loop", "--timestamp")
    listener = lab.spawn(*command, stdout=subprocess.PIPE)
    try:
        heard = Output(listener.stdout)
        guest.migrate(mode)
        detected = wait_until(lambda: agent.find("outgoing migration detected"), 10, "detected")
        wait_until(lambda: agent.status(guest), 0.5, "a first status")
    finally:
        listener.terminate()
        listener.wait(10)
    heard.join()
    stamp = heard.find(f"'{guest.name}': iteration: '1'")[0][1].split(": ")[0]
    started = datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S.%f%z").timestamp()
    assert detected[0][0] - started < 0.5


def test_a_migration_that_runs_already_when_the_agent_starts_is_found(lab, guest):
    guest.migrate()
    wait_until(guest.is_migrating, 10, "the migration runs")
    with Agent(lab) as agent:
        wait_until(lambda: agent.status(guest), 2, "a first status")
        assert agent.status(guest)["active"]
        assert agent.metric("migpolicy_migrations_started_total") == 1
