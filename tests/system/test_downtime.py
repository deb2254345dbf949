# SPDX-License-Identifier: LGPL-2.1-or-later
"""Only the downtime limit may be raised."""

from types import SimpleNamespace

import pytest

from lab import PATIENCE_S, UNLIMITED, Agent, Guest, QuotaWatch


@pytest.fixture(scope="module")
def raised(lab):
    with Agent(lab) as agent, Guest(lab) as guest:
        agent.set(guest, "--max-downtime", "4s")
        watch = QuotaWatch(guest.group)
        client = guest.migrate()
        yield SimpleNamespace(
            exit_status=client.wait(PATIENCE_S),
            quotas=watch.stop(),
            status=agent.ended(guest),
            events=agent.events(guest),
            downtime=guest.downtime_seconds(),
            guest=guest,
        )


def test_the_migration_ends(raised):
    assert raised.exit_status == 0


def test_the_limit_is_raised_to_what_is_needed_not_to_the_ceiling(raised):
    limits = [e["detail"] for e in raised.events if e["action"] == "downtime"]
    assert limits
    assert all(int(detail.split()[-2]) < 3200 for detail in limits), limits


def test_the_downtime_stays_within_the_ceiling(raised):
    assert 0.3 < raised.downtime <= 4


def test_no_quota_is_ever_written(raised):
    assert {e["action"] for e in raised.events} == {"downtime"}
    assert all(seen == [UNLIMITED] for seen in raised.quotas.values()), raised.quotas


def test_the_approval_is_on_record(raised):
    assert all(e["approved_by"] == "override set by uid 0" for e in raised.events)


def test_the_memory_arrives_intact(raised):
    raised.guest.check_memory("b")
