# SPDX-License-Identifier: LGPL-2.1-or-later
"""The actions beside downtime and throttle, each approved on its own."""

import os
import re
import signal

from lab import PATIENCE_S, UNLIMITED, Guest, wait_until


def reason_of(agent, guest, kind):
    if not agent.status(guest):
        return None
    alternatives = agent.query("explain", guest.name)["alternatives"]
    return next((a["reason"] for a in alternatives if a["kind"] == kind), None)


def test_an_approved_switch_to_post_copy_ends_the_migration(agent, guest):
    agent.set(guest, "--allow-post-copy")
    assert guest.migrate("--postcopy").wait(PATIENCE_S) == 0
    assert agent.ended(guest)["result"] == "completed"
    (switch,) = agent.events(guest, "post-copy", "applied")
    assert switch["reason"] == "post-copy-suffices"
    assert "uid 0" in switch["approved_by"]
    assert agent.find("post-copy: the guest already runs on the destination")
    guest.wait_full_speed("b")
    guest.check_memory("b")


def test_a_switch_to_post_copy_that_is_not_approved_is_not_made(agent, guest):
    agent.set(guest, "--allow-suspend=ask")
    guest.migrate("--postcopy")
    wait_until(lambda: reason_of(agent, guest, "post-copy"), "the alternatives are known")
    wait_until(lambda: agent.status(guest)["reason"] == "asked", "it is asked instead")
    assert agent.events(guest, "post-copy") == []
    assert guest.is_migrating()
    guest.wait_full_speed("a")


def test_a_switch_to_post_copy_that_is_not_possible_is_reported_and_not_tried_again(agent, guest):
    agent.set(guest, "--allow-post-copy")
    guest.migrate()
    wait_until(
        lambda: reason_of(agent, guest, "post-copy") == "post-copy-unavailable", "it is known"
    )
    wait_until(lambda: agent.status(guest)["verdict"] == "hopeless", "and nothing is left")
    (switch,) = agent.events(guest, "post-copy")
    assert switch["result"] == "failed"
    assert guest.is_migrating()
    guest.wait_full_speed("a")


def test_a_post_copy_that_loses_its_destination_is_reported(lab, agent):
    with Guest(lab, dirties=3, hot="4s", memory="4.6s") as guest:
        agent.set(guest, "--allow-post-copy", "--allow-cancel", "--stall-timeout", "5s")
        guest.migrate("--postcopy")
        wait_until(lambda: agent.find("already runs on the destination"), "post-copy")
        os.kill(guest.pid("b"), signal.SIGKILL)
        wait_until(lambda: agent.events(guest, "post-copy", "failed"), "it is on record")
        status = agent.status(guest)
        assert (status["verdict"], status["reason"]) == ("post-copy", "post-copy-failed")
        assert "stopped until it is recovered" in agent.cli("explain", guest.name).stdout
        assert agent.events(guest, "cancel") == []


def test_an_approved_pause_ends_the_migration_and_the_guest_runs_on_the_destination(agent, guest):
    agent.set(guest, "--allow-suspend")
    assert guest.migrate().wait(PATIENCE_S) == 0
    assert agent.ended(guest)["result"] == "completed"
    assert [e["action"] for e in agent.events(guest, result="applied")] == ["suspend"]
    assert guest.downtime_seconds() > 1
    guest.wait_full_speed("b")
    guest.check_memory("b")


def test_a_guest_paused_for_a_migration_that_fails_runs_on_where_it_was(lab, agent):
    with Guest(lab, dirties=3, hot="4s", memory="4.6s") as guest:
        agent.set(guest, "--allow-suspend")
        client = guest.migrate()
        wait_until(lambda: agent.events(guest, "suspend", "applied"), "the guest is paused")
        assert lab.virsh("a", "domstate", guest.name) == "paused"
        guest.abort()
        assert client.wait(PATIENCE_S) != 0
        guest.wait_full_speed("a")
        assert lab.virsh("a", "domstate", guest.name) == "running"


def test_a_pause_is_not_stalled_while_memory_is_sent(lab, agent):
    with Guest(lab, dirties=3, hot="6s", memory="6.6s") as guest:
        agent.set(guest, "--allow-suspend", "--allow-cancel", "--stall-timeout", "4s")
        assert guest.migrate().wait(PATIENCE_S) == 0
        assert [e["action"] for e in agent.events(guest, result="applied")] == ["suspend"]
        assert agent.ended(guest)["result"] == "completed"
        assert guest.downtime_seconds() > 4


def test_a_pause_by_somebody_else_is_not_judged(lab, agent):
    with Guest(lab, dirties=3, hot="7s", memory="7.6s") as guest:
        agent.set(guest, "--allow-cancel", "--stall-timeout", "4s", "--deadline", "30m")
        client = guest.migrate()
        wait_until(lambda: (agent.status(guest) or {}).get("iteration", 0) >= 2, "its first pass is complete")
        lab.virsh("a", "suspend", guest.name)
        wait_until(lambda: agent.status(guest)["reason"] == "suspended", "it is seen for what it is")
        assert client.wait(PATIENCE_S) == 0
        assert agent.events(guest, "cancel") == []
        assert agent.ended(guest)["result"] == "completed"


def test_it_stops_and_copies_after_so_many_passes(agent, guest):
    agent.set(guest, "--precopy-iterations", "3", "--max-downtime", "10s", "--patience", "10m")
    assert guest.migrate().wait(PATIENCE_S) == 0
    # Again where the link carries less for a moment: QEMU does not switch over then.
    raised = agent.events(guest, "downtime", "applied")
    assert {e["reason"] for e in raised} == {"precopy-limit"}
    assert not agent.find("somebody else changed the downtime limit")
    assert agent.ended(guest)["iteration"] <= 5
    guest.check_memory("b")


def test_the_deadline_forces_an_end(agent, guest):
    agent.set(
        guest,
        *("--allow-suspend", "--on-deadline", "force", "--deadline", "8s", "--patience", "10m"),
    )
    assert guest.migrate().wait(PATIENCE_S) == 0
    (suspend,) = agent.events(guest, "suspend", "applied")
    assert suspend["reason"] == "deadline"
    assert suspend["elapsed_seconds"] >= 8
    guest.wait_full_speed("b")


def test_a_speed_limit_is_raised_before_the_guest_is_touched(lab, agent):
    with Guest(lab, paced=0.47) as guest:
        low = round(0.33 * lab.link_mib)
        lab.virsh("a", "migrate-setspeed", guest.name, low)
        agent.set(guest, "--allow-bandwidth", "--allow-throttle", "--max-downtime", "4s")
        client = guest.migrate()
        wait_until(lambda: agent.events(guest, "bandwidth", "applied"), "the limit is raised")
        assert int(lab.virsh("a", "migrate-getspeed", guest.name)) > low
        assert client.wait(PATIENCE_S) == 0
        assert {e["action"] for e in agent.events(guest)} == {"bandwidth"}


def test_a_raised_speed_limit_is_put_back_when_the_migration_does_not_complete(lab, agent, guest):
    low, high = str(round(0.33 * lab.link_mib)), str(round(0.55 * lab.link_mib))
    lab.virsh("a", "migrate-setspeed", guest.name, low)
    agent.set(guest, "--allow-bandwidth", "--max-bandwidth", f"{high}MiB/s")
    guest.migrate()
    # In steps, where the first promises to do.
    wait_until(lambda: lab.virsh("a", "migrate-getspeed", guest.name) == high, "it is raised")
    guest.abort()
    wait_until(lambda: not agent.status(guest)["active"], "its end is seen")
    wait_until(lambda: lab.virsh("a", "migrate-getspeed", guest.name) == low, "put back")


def test_the_cache_of_a_compressed_migration_grows(lab, agent):
    with Guest(lab, dirties=2.5, hot="110M", memory="180M") as guest:
        agent.set(guest, "--allow-compression-cache", "--max-compression-cache", "128MiB")
        guest.migrate("--compressed")
        (grown,) = wait_until(
            lambda: agent.events(guest, "compression-cache", "applied"), "the cache grows"
        )
        assert grown["reason"] == "cache-worth-a-try"
        assert "128 MiB" in grown["detail"]
        info = lab.virsh("a", "domjobinfo", guest.name)
        assert float(re.search(r"Compression cache:\s+([\d.]+) MiB", info)[1]) == 128


def test_a_stalled_link_is_noticed_and_the_guest_keeps_running(lab, agent, guest):
    agent.set(guest, "--allow-cancel", "--stall-timeout", "6s", "--deadline", "10m")
    client = guest.migrate()
    wait_until(lambda: agent.status(guest) and agent.status(guest)["iteration"] > 1, "passes")
    lab.run("link", "down")
    try:
        wait_until(lambda: agent.events(guest, "cancel", "applied"), "it is cancelled")
        assert agent.events(guest, "cancel")[0]["reason"] == "stalled"
        client.wait(PATIENCE_S)
    finally:
        lab.run("link", "up")
    wait_until(lambda: not guest.is_migrating(), "the migration is over")
    guest.wait_full_speed("a")


def test_a_stall_is_only_reported_where_cancelling_is_not_allowed(lab, agent, guest):
    agent.set(guest, "--stall-timeout", "5s")
    guest.migrate()
    wait_until(lambda: agent.status(guest) and agent.status(guest)["iteration"] > 1, "passes")
    lab.run("link", "down")
    try:
        wait_until(lambda: agent.status(guest)["verdict"] == "stalled", "it is noticed")
    finally:
        lab.run("link", "up")
    assert agent.events(guest, "cancel", "applied") == []
    assert guest.is_migrating()


def test_a_downtime_that_somebody_else_steps_is_reported_and_not_fought_over(lab, agent):
    with Guest(lab, dirties=3, hot="2.4s", memory="3s") as guest:
        agent.set(guest, "--max-downtime", "1100ms")
        guest.migrate()
        wait_until(lambda: agent.status(guest) and agent.status(guest)["iteration"] > 1, "runs")
        for ms in (100, 150, 200):
            lab.virsh("a", "migrate-setmaxdowntime", guest.name, ms)
            wait_until(lambda: guest.downtime_limit_ms() == ms, "set")
        wait_until(
            lambda: agent.find(r"somebody else changed the downtime limit from \d+ ms to 200"),
            "it is reported",
        )
        wait_until(lambda: agent.events(guest, "downtime", "applied"), "ours is set")
        ours = len(agent.events(guest, "downtime", "applied"))
        lab.virsh("a", "migrate-setmaxdowntime", guest.name, 250)
        wait_until(lambda: reason_of(agent, guest, "downtime") == "other-writer", "noticed")
        for ms in (300, 350):
            lab.virsh("a", "migrate-setmaxdowntime", guest.name, ms)
            wait_until(
                lambda: agent.status(guest)["downtime_limit_seconds"] == ms / 1000, "it is seen"
            )
        assert guest.downtime_limit_ms() == 350
        assert len(agent.events(guest, "downtime", "applied")) == ours
        assert guest.quota() == UNLIMITED
