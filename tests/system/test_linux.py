# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests that run Linux and programs people use; tests/bench/convergence --linux tries them all."""

from lab import PATIENCE_S, UNLIMITED, LinuxGuest, QuotaWatch


def test_an_idle_linux_is_never_touched(lab, agent):
    with LinuxGuest(lab, "idle") as guest:
        agent.set(guest, "--max-downtime", "4s", "--allow-throttle", "--allow-cancel")
        watch = QuotaWatch(guest.group)
        assert guest.migrate().wait(PATIENCE_S) == 0
        assert agent.ended(guest)
        assert watch.stop()["vcpu0"] == [UNLIMITED]
        assert agent.events(guest) == []
        guest.check_memory("b")


def test_stressapptest_is_helped_and_finds_its_memory_intact(lab, agent):
    with LinuxGuest(lab, "stressapptest", hot="1.2s") as guest:
        agent.set(guest, "--allow-throttle", "--min-cpu", "5%")
        client = guest.migrate()
        agent.wait_throttled(guest)
        assert client.wait(PATIENCE_S) == 0
        guest.wait_full_speed("b")
        guest.check_memory("b")
