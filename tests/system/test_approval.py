# SPDX-License-Identifier: LGPL-2.1-or-later
"""An administrator is asked, says no, or takes the agent's hands off."""

from lab import PATIENCE_S, UNLIMITED, QuotaWatch, wait_until


def asked(agent):
    """The one proposal, once there is one."""
    return wait_until(lambda: agent.query("pending")["proposals"], "something is asked")[0]


def told(agent, guest):
    return [(e["action"], e["result"], e["reason"]) for e in agent.events(guest)]


def migrate_throttled(agent, guest):
    """Throttled, for long enough to meddle with it."""
    agent.set(guest, "--allow-throttle")
    client = guest.migrate()
    agent.wait_throttled(guest)
    wait_until(lambda: guest.quota() != UNLIMITED, "the quota is there")
    return client


def test_what_is_approved_is_done_and_the_migration_ends(agent, guest):
    agent.set(guest, "--allow-throttle=ask")
    client = guest.migrate("--tls")
    proposal = asked(agent)
    assert (proposal["vm"], proposal["action"]) == (guest.name, "throttle")
    assert guest.quota() == UNLIMITED
    assert agent.cli("approve", proposal["id"]).returncode == 0
    throttled = agent.wait_throttled(guest)
    assert throttled["approved_by"] == "uid 0, when asked"
    assert client.wait(PATIENCE_S) == 0
    assert agent.ended(guest)["result"] == "completed"
    guest.check_memory("b")


def test_what_nobody_answers_is_not_done(agent, guest):
    agent.set(guest, "--allow-throttle=ask", "--ask-timeout=4s")
    watch = QuotaWatch(guest.group)
    guest.migrate()
    number = asked(agent)["id"]
    wait_until(lambda: ("throttle", "denied", "ask-timeout") in told(agent, guest), "expiry")
    passes = agent.status(guest)["iteration"]
    wait_until(lambda: agent.status(guest)["iteration"] >= passes + 3, "three more passes")
    assert agent.query("pending")["proposals"] == []
    assert agent.cli("approve", number).returncode == 4
    assert guest.is_migrating()
    assert agent.status(guest)["work_lost_seconds"] == 0
    guest.abort()
    assert all(seen == [UNLIMITED] for seen in watch.stop().values())
    guest.wait_full_speed("a")


def test_the_kill_switch_gives_the_cpu_back(agent, guest):
    migrate_throttled(agent, guest)
    assert agent.cli("pause").returncode == 0
    wait_until(lambda: guest.quota() == UNLIMITED, "the quota is restored")
    assert ("release", "applied", "paused") in told(agent, guest)
    assert agent.status(guest)["paused"] == "host paused by uid 0"
    wait_until(lambda: agent.metric("migpolicy_paused") == 1, "it is exported")
    agent.stop()
    agent.start()
    wait_until(lambda: agent.status(guest), "the migration is found again")
    passes = agent.status(guest)["iteration"]
    wait_until(lambda: agent.status(guest)["iteration"] >= passes + 3, "three more passes")
    assert guest.quota() == UNLIMITED
    assert agent.cli("resume").returncode == 0
    agent.wait_throttled(guest)
    guest.abort()
    wait_until(lambda: guest.quota() == UNLIMITED, "the quota is restored")


def test_release_gives_the_cpu_back_for_good(agent, guest):
    assert agent.cli("release", guest.name).returncode == 6
    migrate_throttled(agent, guest)
    assert agent.cli("release", guest.name).returncode == 0
    wait_until(lambda: guest.quota() == UNLIMITED, "the quota is restored")
    assert ("release", "applied", "released") in told(agent, guest)
    passes = agent.status(guest)["iteration"]
    wait_until(lambda: agent.status(guest)["iteration"] >= passes + 3, "three more passes")
    assert guest.quota() == UNLIMITED
    assert agent.cli("release", guest.name).returncode == 6
    guest.abort()
    guest.wait_full_speed("a")
