# SPDX-License-Identifier: LGPL-2.1-or-later
"""Several things are allowed: which of them is done, and to whom."""

from lab import PATIENCE_S, UNLIMITED, Guest, QuotaWatch, wait_until


def test_only_the_downtime_is_raised_where_that_suffices(agent, guest):
    agent.set(guest, "--max-downtime", "4s", "--allow-throttle")
    watch = QuotaWatch(guest.group)
    assert guest.migrate().wait(PATIENCE_S) == 0
    assert watch.stop()["vcpu0"] == [UNLIMITED]
    assert {e["action"] for e in agent.events(guest)} == {"downtime"}


def test_the_guest_is_throttled_where_the_downtime_ceiling_is_too_low(agent, guest):
    agent.set(guest, "--max-downtime", "500ms", "--allow-throttle")
    client = guest.migrate()
    agent.wait_throttled(guest)
    assert client.wait(PATIENCE_S) == 0
    assert agent.ended(guest)["downtime_limit_seconds"] <= 0.5
    assert guest.downtime_seconds() < 1.2  # which the link needs for the hot set


def test_two_migrations_at_once_each_keep_to_their_own_policy(lab, agent):
    with Guest(lab) as slowed, Guest(lab) as untouched:
        # Each has half of the link, so it takes a harder throttle than the default floor allows.
        agent.set(slowed, "--allow-throttle", "--min-cpu", "8%")
        slowed_watch, untouched_watch = QuotaWatch(slowed.group), QuotaWatch(untouched.group)
        client = slowed.migrate()
        untouched.migrate()
        agent.wait_throttled(slowed)
        wait_until(lambda: agent.events(untouched, result="proposed"), "a proposal")
        memory = agent.own_memory()
        assert client.wait(PATIENCE_S) == 0
        assert any(q.quota > 0 for q in slowed_watch.stop()["vcpu0"])
        assert untouched_watch.stop()["vcpu0"] == [UNLIMITED]
        assert not agent.events(untouched, result="applied")
        assert memory < 20 * 2**20
