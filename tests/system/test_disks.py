# SPDX-License-Identifier: LGPL-2.1-or-later
"""What disks have to do with it: storage that is copied first, and flushes that take long."""

import json
import time

from lab import PATIENCE_S, UNLIMITED, Guest, LinuxGuest, QuotaWatch, wait_until

RISK = "ceiling-at-risk"


def test_storage_copied_first_is_neither_late_nor_stalled(lab, agent):
    with Guest(lab, paced=0.1, hot="0.1s", memory="0.7s", disk="5s") as guest:
        limits = ("--deadline", "4s", "--on-deadline", "cancel", "--stall-timeout", "2s")
        agent.set(guest, "--allow-cancel", *limits)
        started = time.monotonic()
        client = guest.migrate("--copy-storage-all")
        wait_until(lambda: agent.find("outgoing migration detected"), "detected")
        assert time.monotonic() - started > 4, "the storage was to take longer than the deadline"
        assert client.wait(PATIENCE_S) == 0
        assert agent.ended(guest)["result"] == "completed"
        assert agent.events(guest) == []
        copies = [lab.directory / host / "run/lab" / f"{guest.name}.img" for host in "ab"]
        assert copies[0].read_bytes() == copies[1].read_bytes()


def test_a_slow_flush_is_measured_and_that_it_breaks_the_ceiling_is_said_before(lab, agent):
    flush_s = 0.7
    with LinuxGuest(lab, "flush", slow_flush_s=flush_s) as guest:
        # No limit keeps that.
        agent.set(guest, "--max-downtime", "500ms", "--allow-throttle")
        watch = QuotaWatch(guest.group)
        client = guest.migrate()
        wait_until(lambda: (agent.status(guest) or {}).get("reason") == RISK, "it is said before")
        assert client.wait(PATIENCE_S) == 0
        agent.ended(guest)
        assert guest.downtime_seconds() > flush_s, "QEMU was to flush at the switchover"
        assert watch.stop()["vcpu0"] == [UNLIMITED]
        assert agent.events(guest) == []
        assert max(seen_flushes(agent, guest)) > flush_s
        guest.check_memory("b")


def seen_flushes(agent, guest):
    """What a flush took on average, in seconds, at each look."""
    for path in (agent.directory / "state/traces").glob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        if lines[0]["vm"] == guest.name:
            return [line["sample"]["flush_ns"] / 1e9 for line in lines if "sample" in line]
    return []
