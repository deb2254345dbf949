# SPDX-License-Identifier: LGPL-2.1-or-later
"""A migration that does not converge, and nobody has allowed anything: seen, told, not touched."""

import subprocess
from types import SimpleNamespace

import pytest

from lab import PATIENCE_S, UNLIMITED, Agent, Guest, Prometheus, QuotaWatch, wait_until


@pytest.fixture(scope="module")
def observed(lab):
    """What was seen of such a migration, until four passes after its verdict."""
    with Agent(lab) as agent, Guest(lab) as guest, Prometheus(lab, agent) as prometheus:
        watch = QuotaWatch(guest.group)
        limit = guest.downtime_limit_ms()
        client = guest.migrate()
        wait_until(lambda: agent.events(guest), "an event")
        remaining = f'migpolicy_migration_memory_remaining_bytes{{vm="{guest.name}"}}'
        (scraped,) = wait_until(
            lambda: prometheus.ask(remaining), "Prometheus has scraped the migration"
        )
        passes = agent.status(guest)["iteration"]
        wait_until(lambda: agent.status(guest)["iteration"] >= passes + 4, "four more passes")
        assert client.poll() is None, "the migration ended"
        yield SimpleNamespace(
            agent=agent,
            scraped=scraped,
            page=agent.metrics(),
            status=agent.status(guest),
            table=agent.cli("status").stdout,
            explained=agent.query("explain", guest.name),
            limits_ms=(limit, guest.downtime_limit_ms()),
            quotas=watch.stop(),
            migrating=guest.is_migrating(),
        )
        guest.abort()
        assert client.wait(PATIENCE_S) != 0


def test_it_is_reported_as_needing_help(observed):
    assert observed.status["active"]
    assert observed.status["mode"] == "observe"
    assert observed.status["verdict"] in ("needs-help", "stalled")
    assert observed.status["forecast_ends"] is False


def test_what_would_help_is_said(observed):
    assert "would help" in observed.status["next_action"]
    assert "--max-downtime" in observed.status["next_action"]
    assert "would help" in observed.table


def test_a_remedy_is_proposed_once_and_nothing_is_applied(observed):
    assert [e["result"] for e in observed.explained["events"]] == ["proposed"]
    assert observed.explained["events"][0]["approved_by"] is None


def test_neither_quota_nor_downtime_limit_is_touched(observed):
    assert observed.limits_ms[0] == observed.limits_ms[1]
    assert all(seen == [UNLIMITED] for seen in observed.quotas.values()), observed.quotas


def test_the_migration_goes_on(observed):
    assert observed.migrating


def test_prometheus_scrapes_the_migration(observed):
    assert observed.scraped["__name__"] == "migpolicy_migration_memory_remaining_bytes"


def test_the_metrics_page_has_no_lint(observed):
    assert "migpolicy_migration_memory_remaining_bytes{" in observed.page
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=observed.page, text=True, capture_output=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
