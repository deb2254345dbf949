# SPDX-License-Identifier: LGPL-2.1-or-later
"""However a throttled migration, or the daemon, ends: the guest is as it was found."""

import os
import re
import signal

import pytest

from lab import UNLIMITED, Guest, Quota, QuotaWatch, read_quota, wait_until


def start_throttled(agent, guest):
    agent.set(guest, "--allow-throttle")
    client = guest.migrate()
    agent.wait_throttled(guest)
    return client


@pytest.mark.parametrize(
    "limit",
    [{}, {"quota": Quota(37000, 90000)}, {"global_quota": Quota(80000, 100000)}],
    ids=["none", "own", "of-all-vcpus"],
)
def test_quota_and_period_survive_a_cancelled_migration_bit_for_bit(lab, agent, limit):
    own, of_all = limit.get("quota", UNLIMITED), limit.get("global_quota", UNLIMITED)
    # What a limit leaves of a CPU still outruns the link.
    with Guest(lab, dirties=4, **limit) as guest:
        assert (guest.quota(), read_quota(guest.group)) == (own, of_all)
        watch = QuotaWatch(guest.group)
        start_throttled(agent, guest)
        assert guest.quota() != own
        guest.abort()
        wait_until(lambda: guest.quota() == own, "the quota is restored")
        wait_until(lambda: not agent.status(guest)["active"], "the end is noticed")
        assert guest.quota() == own
        seen = watch.stop()
        assert seen[""] == [of_all]
        applied = agent.events(guest, result="applied")
        assert applied[-1]["action"] == "release"
        # It is left a share of what its limits leave it, not of a CPU.
        shares = [re.search(r"left (\d+)% of what", e["detail"]) for e in applied]
        most = min(q.quota / q.period for q in (own, of_all, Quota(1, 1)) if q.quota > 0)
        tightest = min(q.quota / q.period for q in seen["vcpu0"] if q.quota > 0)
        assert tightest <= min(int(s[1]) for s in shares if s) / 100 * most + 0.01


def test_a_guest_whose_migration_was_aborted_runs_at_full_speed(agent, guest):
    start_throttled(agent, guest)
    guest.abort()
    guest.wait_full_speed("a")


def test_stopping_the_agent_restores_the_guest(agent, guest):
    start_throttled(agent, guest)
    assert agent.stop() == 0
    assert guest.quota() == UNLIMITED
    assert guest.is_migrating()


def test_an_agent_killed_while_throttling_restores_the_guest_when_started_again(agent, guest):
    start_throttled(agent, guest)
    agent.kill()
    assert guest.quota() != UNLIMITED
    guest.abort()
    assert guest.quota() != UNLIMITED
    agent.start()
    assert guest.quota() == UNLIMITED
    assert agent.find(rf"{guest.name}: release applied: 1 vCPU quotas restored, .* \(left-behind:")
    assert agent.metric("migpolicy_throttle_restores_total") == 1


def test_restore_undoes_what_a_killed_agent_left(agent, guest):
    start_throttled(agent, guest)
    agent.kill()
    assert guest.quota() != UNLIMITED
    done = agent.run("--restore")
    assert done.returncode == 0, done.stderr
    assert guest.quota() == UNLIMITED
    assert guest.is_migrating()


def test_a_restart_of_libvirtd_restores_the_guest_and_later_migrations_are_seen(lab, agent, guest):
    start_throttled(agent, guest)
    os.kill(lab.libvirtd("a"), signal.SIGKILL)
    wait_until(lambda: guest.quota() == UNLIMITED, "the quota is restored")
    wait_until(lambda: agent.find("lost the connection to libvirt"), "the loss is said")
    lab.up()
    wait_until(lambda: len(agent.find("connected to libvirt at")) == 2, "it reconnects")
    assert agent.metric("migpolicy_libvirt_reconnects_total") == 1
    assert agent.metric("migpolicy_libvirt_up") == 1
    guest.wait_full_speed("a")
    seen = len(agent.find("outgoing migration detected"))
    guest.migrate()
    wait_until(
        lambda: len(agent.find("outgoing migration detected")) > seen, "the next is detected"
    )


def test_what_could_not_be_restored_at_the_start_is_restored_when_it_can_be(agent, guest):
    start_throttled(agent, guest)
    agent.kill()
    guest.abort()
    throttled = guest.quota()
    (journal,) = (agent.directory / "run/undo").glob("*.json")
    text = journal.read_text()
    journal.write_text(re.sub(r'"version": ?1\b', '"version":99', text, count=1))
    assert journal.read_text() != text
    assert agent.run("--restore").returncode == 1
    assert agent.run("--restore").returncode == 1
    agent.start()
    assert agent.find("cannot restore its vCPU quotas: its journal is of another version")
    wait_until(lambda: agent.metric("migpolicy_throttled_domains") == 1, "it is counted")
    assert guest.quota() == throttled
    journal.write_text(text)
    wait_until(lambda: guest.quota() == UNLIMITED, "the quota is restored")
    wait_until(lambda: agent.metric("migpolicy_throttled_domains") == 0, "it is counted no more")
    assert not journal.exists()
