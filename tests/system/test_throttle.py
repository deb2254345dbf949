# SPDX-License-Identifier: LGPL-2.1-or-later
"""Only throttling is allowed."""

import re
from types import SimpleNamespace

import pytest

from lab import PATIENCE_S, UNLIMITED, Agent, Guest, QuotaWatch


@pytest.fixture(scope="module")
def throttled(lab):
    with Agent(lab) as agent, Guest(lab) as guest:
        agent.set(guest, "--allow-throttle")
        limit = guest.downtime_limit_ms()
        watch = QuotaWatch(guest.group)
        client = guest.migrate()
        agent.wait_throttled(guest)
        yield SimpleNamespace(
            limits_ms=(limit, guest.downtime_limit_ms()),
            exit_status=client.wait(PATIENCE_S),
            quotas=watch.stop(),
            status=agent.ended(guest),
            events=agent.events(guest),
            guest=guest,
        )


def test_the_migration_ends(throttled):
    assert throttled.exit_status == 0
    assert throttled.status["result"] == "completed"


def test_only_vcpu_groups_are_ever_written(throttled):
    others = {name: q for name, q in throttled.quotas.items() if not name.startswith("vcpu")}
    assert {"", "emulator"} <= set(others)
    assert all(seen == [UNLIMITED] for seen in others.values()), others


def test_the_quota_is_tightened_but_never_below_the_floor(throttled):
    shares = [q.quota / q.period for q in throttled.quotas["vcpu0"] if q.quota > 0]
    assert shares
    assert min(shares) >= 0.2


def test_the_quota_is_lifted_at_switchover(throttled):
    assert throttled.quotas["vcpu0"][-1] == UNLIMITED
    assert [(e["action"], e["reason"]) for e in throttled.events][-1] == ("release", "switchover")


def test_the_downtime_limit_is_left_alone(throttled):
    assert throttled.limits_ms[0] == throttled.limits_ms[1]


def test_what_it_cost_is_reported(throttled):
    assert 0 < throttled.status["work_lost_seconds"] < throttled.status["throttled_seconds"] + 1


def test_the_guest_runs_at_full_speed_on_the_destination(throttled):
    throttled.guest.wait_full_speed("b")


def test_the_memory_arrives_intact(throttled):
    throttled.guest.check_memory("b")


def test_how_long_writing_the_quota_took_is_said(throttled):
    assert re.search(r"written in \d+(\.\d+)? ms", throttled.events[0]["detail"])
