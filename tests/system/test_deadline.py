# SPDX-License-Identifier: LGPL-2.1-or-later
"""Cancelling at the deadline is allowed."""

import time

from lab import PATIENCE_S, UNLIMITED, wait_until


def test_a_migration_that_cannot_end_is_cancelled_at_the_deadline(agent, guest):
    agent.set(guest, "--allow-cancel", "--deadline", "12s")
    started = time.monotonic()
    assert guest.migrate().wait(PATIENCE_S) != 0
    assert time.monotonic() - started >= 12
    assert agent.ended(guest)["result"] == "cancelled"
    (cancel,) = agent.events(guest, "cancel", "applied")
    assert cancel["reason"] == "deadline"
    assert cancel["elapsed_seconds"] >= 12
    guest.wait_full_speed("a")


def test_a_throttled_migration_past_its_deadline_is_cancelled_and_the_guest_restored(agent, guest):
    agent.set(guest, "--allow-throttle")
    client = guest.migrate()
    agent.wait_throttled(guest)
    agent.set(guest, "--allow-cancel", "--deadline", "1s")
    assert client.wait(PATIENCE_S) != 0
    wait_until(lambda: agent.events(guest, "cancel", "applied"), "it is on record")
    assert guest.quota() == UNLIMITED
    guest.wait_full_speed("a")
