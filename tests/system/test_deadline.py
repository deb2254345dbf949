# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cancelling at the deadline is allowed."""

import time

from lab import UNLIMITED, wait_until


def test_a_migration_that_cannot_end_is_cancelled_at_the_deadline(agent, guest):
    agent.set(guest, "--allow-cancel", "--deadline", "15s")
    started = time.monotonic()
    assert guest.migrate().wait(40) != 0
    assert 15 <= time.monotonic() - started < 20
    (cancel,) = agent.events(guest, "cancel", "applied")
    assert cancel["reason"] == "deadline"
    assert 15 <= cancel["elapsed_seconds"] < 19
    assert agent.status(guest)["result"] == "cancelled"
    guest.wait_full_speed("a")


def test_a_throttled_migration_past_its_deadline_is_cancelled_and_the_guest_restored(agent, guest):
    agent.set(guest, "--allow-throttle")
    client = guest.migrate()
    agent.wait_throttled(guest)
    agent.set(guest, "--allow-cancel", "--deadline", "1s")
    assert client.wait(10) != 0
    wait_until(lambda: agent.events(guest, "cancel", "applied"), 2, "it is on record")
    assert guest.quota() == UNLIMITED
    guest.wait_full_speed("a")
