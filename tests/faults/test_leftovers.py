# SPDX-License-Identifier: LGPL-2.1-or-later
"""Quotas that cannot be put back when they should be."""

import json

import pytest
from simhost import Host, domain, throttled_span

RULES = [{"name": "*", "policy": {"allow_throttle": True, "min_cpu": "10%"}}]


def failing(times=None, name="vm", **more):
    """A guest that needs a throttle, and whose quotas cannot be restored so many times, or ever."""
    failure = {"call": "restore", "error": "failed", **({"times": times} if times else {})}
    return domain(name, link="200Mbit/s", ram="1GiB", failures=[failure], **more)


def cancel_when_throttled(host):
    host.wait(lambda: host.events("cpu_share"))
    host.command("set", "vm", "--runtime", "--allow-cancel", "--deadline=1s", "--on-deadline=cancel")
    host.wait(lambda: leftovers(host))


def events(host):
    path = host.state_dir / "audit.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [e for e in map(json.loads, lines) if e["action"] == "release"]


def leftovers(host, *args):
    return json.loads(host.command("status", "--json", *args))["leftovers"]


def share(host):
    return host.events("cpu_share")[-1]["value"]


def test_what_fails_when_the_migration_ends_is_listed_and_tried_until_it_works(tmp_path):
    with Host([failing(times=10)], RULES, state_dir=tmp_path, time_factor=10) as host:
        cancel_when_throttled(host)
        left = leftovers(host, "vm")[0]
        assert (left["vm"], left["uuid"]) == ("vm", next(iter(host.names)))
        assert left["failures"] >= 1 and left["age_seconds"] >= 0 and left["why"]
        assert host.metric("migpolicy_throttled_domains") == 1 and share(host) < 1
        assert not host.status()
        told = host.tried("status")
        assert told.returncode == 0 and "vm may still be slowed" in told.stderr
        host.wait(lambda: share(host) == 1)
        host.wait(lambda: not leftovers(host))
        host.wait(lambda: host.metric("migpolicy_throttled_domains") == 0)
        failures = host.metric("migpolicy_throttle_restore_failures_total")
        host.wait(lambda: events(host)[-1]["result"] == "applied")
        found = events(host)
        assert host.stop() == 0
    # Ten times it failed: told once by its watcher, once when it was left, and when it ended.
    assert failures == 10
    assert [e["result"] for e in found] == ["failed", "failed", "applied"]
    assert "failed tries" in found[-1]["detail"]


@pytest.mark.parametrize("name", ["vm", "uuid"])
def test_release_of_a_leftover_tries_at_once_and_answers_what_happened(name):
    with Host([failing(times=12)], RULES, time_factor=10) as host:
        cancel_when_throttled(host)
        vm = "vm" if name == "vm" else f"uuid:{leftovers(host)[0]['uuid']}"
        tries = leftovers(host)[0]["failures"]
        failed = host.tried("release", vm)
        assert failed.returncode == 1 and "could not be restored" in failed.stderr, failed
        assert failed.stderr.count("\n") == 1
        assert leftovers(host)[0]["failures"] > tries
        done = failed
        while done.returncode == 1:
            done = host.tried("release", vm)
        assert "has its CPU back: 1 vCPU quotas restored" in done.stdout, done
        assert share(host) == 1 and not leftovers(host)
        gone = host.tried("release", vm)
        assert gone.returncode == 6 and "is not migrating" in gone.stderr


def test_a_lift_that_fails_while_it_migrates_is_told_once_and_ends():
    with Host([failing(times=4)], RULES, time_factor=10) as host:
        host.wait(lambda: host.events("cpu_share"))
        host.command("set", "vm", "--runtime", "--allow-throttle=no")
        host.wait(lambda: host.metric("migpolicy_throttle_restore_failures_total") >= 1)
        shown = host.status("vm", "-a")[0]["cpu_limit_ratio"]
        assert shown < 1 or share(host) == 1, "it is still slowed"
        host.wait(lambda: share(host) == 1)
        host.wait(lambda: host.status("vm", "-a")[0]["cpu_limit_ratio"] == 1)
        told = json.loads(host.command("explain", "vm", "--json"))["events"]
        told = [e for e in told if e["action"] == "release"]
        assert [e["result"] for e in told] == ["failed", "applied"], told
        assert "after 4 failed tries" in told[-1]["detail"]


def test_a_guest_with_a_leftover_is_not_slowed_again_before_it_is_restored():
    vm = failing(retry_after="5s", retries=50)
    with Host([vm], RULES, time_factor=10) as host:
        cancel_when_throttled(host)
        host.command("unset", "vm", "--all")
        slowed = len(host.events("cpu_share"))
        host.wait(lambda: host.status())
        host.wait(lambda: host.status()[0]["iteration"] > 4)
        assert leftovers(host) and len(host.events("cpu_share")) == slowed
        assert "cannot be throttled" in host.log()


def test_a_throttle_whose_groups_have_vanished_is_not_shown_as_in_force():
    vm = domain("vm", link="200Mbit/s", ram="1GiB",
                failures=[{"call": "check-quota", "error": "gone", "times": 1}])
    with Host([vm], RULES, time_factor=10) as host:
        host.wait(lambda: [e["value"] < 1 for e in host.events("cpu_share")] == [True, False])
        host.wait(lambda: host.status("vm")[0]["cpu_limit_ratio"] == 1)
        told = json.loads(host.command("explain", "vm", "--json"))["events"]
        assert [e["reason"] for e in told if e["action"] == "release"] == ["no-cgroup"], told
        pass_before = host.status("vm")[0]["iteration"]
        host.wait(lambda: host.status("vm")[0]["iteration"] > pass_before + 2)
        assert len(host.events("cpu_share")) == 2, "not throttled again"


def test_a_lift_that_fails_is_tried_again_although_the_watcher_hangs():
    vm = domain("vm", link="200Mbit/s")
    begin, end = throttled_span(vm, RULES, 10)
    assert end - begin > 6, "its throttle was to last long enough"
    vm["hang_after"] = f"{begin:.3f}s"  # a second later: it starts at 1 s
    vm["failures"] = [{"call": "restore", "error": "failed", "times": 3}]
    with Host([vm], RULES, time_factor=10) as host:
        host.wait(lambda: host.events("cpu_share"))
        host.wait(lambda: share(host) == 1)
        assert host.metric("migpolicy_throttle_restore_failures_total") == 3
        told = json.loads(host.command("explain", "vm", "--json"))["events"]
        assert [(e["result"], e["reason"]) for e in told if e["action"] == "release"] == [
            ("failed", "stale"), ("applied", "stale")], told
