# SPDX-License-Identifier: LGPL-2.1-or-later
"""Everything is allowed, but nothing needs doing, or nothing helps."""

import pytest

from lab import PATIENCE_S, UNLIMITED, Guest, QuotaWatch, wait_until


@pytest.mark.parametrize(
    "dirtying",
    [
        pytest.param({"dirties": 2, "hot": "0.08s"}, id="hardly-dirtying"),
        pytest.param({"paced": 0.5, "hot": "1.7s"}, id="moderately-dirtying"),
    ],
)
def test_a_migration_that_ends_by_itself_is_never_touched(lab, agent, dirtying):
    with Guest(lab, **dirtying) as guest:
        agent.set(guest, "--max-downtime", "4s", "--allow-throttle", "--allow-cancel")
        limit = guest.downtime_limit_ms()
        watch = QuotaWatch(guest.group)
        client = guest.migrate()
        wait_until(lambda: agent.find("outgoing migration detected"), "detected")
        assert client.wait(PATIENCE_S) == 0
        assert agent.ended(guest)["downtime_limit_seconds"] == limit / 1000
        assert watch.stop()["vcpu0"] == [UNLIMITED]
        assert agent.events(guest) == []


def test_a_sleeping_guest_is_not_throttled_in_vain(lab, agent):
    with Guest(lab, sleeping=1.6) as guest:
        agent.set(guest, "--allow-throttle", "--min-cpu", "50%")
        guest.migrate()
        useless = wait_until(
            lambda: {"throttle-useless", "throttle-ineffective"} & reasons(agent, guest),
            "it is said that throttling does not help",
        )
        assert useless
        assert guest.quota() == UNLIMITED
        assert guest.is_migrating()


def test_a_throttle_that_does_not_lower_the_dirtying_is_released(lab, agent):
    with Guest(lab, "cpu=0 sweep=0", paced=1.6) as guest:
        agent.set(guest, "--allow-throttle", "--min-cpu", "50%")
        guest.migrate()
        agent.wait_throttled(guest)
        (release,) = wait_until(
            lambda: agent.events(guest, "release", "applied"), "the throttle is released"
        )
        assert release["reason"] == "throttle-ineffective"
        assert guest.quota() == UNLIMITED
        assert "throttle-ineffective" in reasons(agent, guest)
        assert "throttling does not lower" in agent.cli("explain", guest.name).stdout


def test_a_guest_that_auto_converge_throttles_is_not_throttled_twice(lab, agent):
    with Guest(lab, dirties=2.5, hot="1.5s", memory="2.5s") as guest:
        agent.set(guest, "--allow-throttle")
        watch = QuotaWatch(guest.group)
        # From the first sync on, so that QEMU comes first.
        client = guest.migrate("--auto-converge", "--auto-converge-initial", "40")
        wait_until(lambda: "auto-converge" in reasons(agent, guest), "it is noticed")
        mark = len(watch.seen["vcpu0"])
        wait_until(lambda: guest.quota() == UNLIMITED, "what was there is released")
        assert client.wait(PATIENCE_S) == 0
        assert all(q == UNLIMITED for q in watch.stop()["vcpu0"][mark + 1 :])


def reasons(agent, guest):
    if not agent.status(guest):
        return set()
    explained = agent.query("explain", guest.name)
    return {x["reason"] for x in explained["alternatives"] + explained["events"]}
