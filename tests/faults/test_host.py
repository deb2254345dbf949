# SPDX-License-Identifier: LGPL-2.1-or-later
"""What several migrations of one host share."""

import json
import signal
import subprocess

import pytest
from simhost import MIGPOLICY, PATIENCE_S, Host, domain

MIB = 1 << 20
THROTTLE = [{"name": "*", "policy": {"allow_throttle": True, "min_cpu": "10%"}}]
BANDWIDTH = [{"name": "*", "policy": {"allow_bandwidth": True}}]


def most_throttled_at_once(host):
    most, now = 0, set()
    for e in host.events("cpu_share"):
        (now.add if e["value"] < 1 else now.discard)(e["name"])
        most = max(most, len(now))
    return most


def field(host, vm, name):
    return next((f["value"], f["source"])
                for f in json.loads(host.command("show", "--json", vm))["fields"]
                if f["name"] == name)


@pytest.mark.parametrize("limit", [1, 2, None])
def test_no_more_guests_are_throttled_at_once_than_the_host_allows(limit):
    names = ["a", "b", "c"]
    config = {} if limit is None else {"max_throttled_domains": limit}
    with Host([domain(n) for n in names], THROTTLE, config=config) as host:
        host.wait(lambda: host.completed() == set(names))
        assert most_throttled_at_once(host) == (limit or 3)
        assert {e["name"] for e in host.events("cpu_share")} == set(names)


def test_who_waits_for_its_turn_says_so_and_is_not_cancelled_as_hopeless():
    rules = [{"name": "*",
              "policy": {"allow_throttle": True, "allow_cancel": True, "min_cpu": "10%"}}]
    with Host([domain("a", ram="1GiB", hot="600MiB", rate="170MB/s", link="160Mbit/s"),
               domain("b", start="130s")], rules, time_factor=20, config={"max_throttled_domains": 1}) as host:
        host.wait(lambda: host.events("cpu_share", "a"))
        host.wait(lambda: host.status("b") and host.status("b")[0]["verdict"] == "needs-help")
        assert host.status("b")[0]["reason"] == "not-approved"
        assert field(host, "b", "allow_throttle") == ("no", "max_throttled_domains of the host")
        assert field(host, "a", "allow_throttle")[0] == "yes"
        host.wait(lambda: host.completed() == {"a", "b"})
        assert most_throttled_at_once(host) == 1


def test_none_is_throttled_where_none_may_be():
    with Host([domain("a")], THROTTLE, config={"max_throttled_domains": 0}) as host:
        host.wait(lambda: host.status() and host.status()[0]["iteration"] > 10)
        assert not host.events("cpu_share")


def limits(host, name):
    return [e["value"] for e in host.events("set_speed", name)]


def test_bandwidth_is_shared_and_what_one_got_alone_is_taken_back():
    greedy = domain("greedy", hot="300MiB", rate="900MB/s", link="2Gbit/s", speed_limit="30MB/s")
    modest = domain("modest", hot="16MiB", rate="70MB/s", link="2Gbit/s", speed_limit="20MB/s",
                    ram="256MiB", start="40s")
    with Host([greedy, modest], BANDWIDTH, time_factor=20,
              config={"host_bandwidth": "100MiB/s"}) as host:
        host.wait(lambda: limits(host, "greedy"))
        assert 60 * MIB < limits(host, "greedy")[0] <= 100 * MIB
        host.wait(lambda: limits(host, "modest"))
        assert limits(host, "modest")[0] <= 50 * MIB
        # A change of less than a tenth is not worth a write.
        host.wait(lambda: limits(host, "greedy")[-1] + limits(host, "modest")[-1] <= 110 * MIB)
        assert field(host, "greedy", "max_bandwidth")[1] == "its part of host_bandwidth"
        events = json.loads(host.command("explain", "greedy", "--json"))["events"]
        assert [e["reason"] for e in events][1] == "host-limit"
        host.wait(lambda: "modest" in host.completed())
        host.wait(lambda: limits(host, "greedy")[-1] > 60 * MIB)


def write_config(host, rules, **config):
    (host.dir / "migpolicyd.json").write_text(json.dumps({**config, "rules": rules}))


def stderr_of(host, *args, status=0):
    done = subprocess.run([MIGPOLICY, "--socket", host.dir / "run/io.migpolicy", *args],
                          capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == status and done.stderr.count("\n") <= 1, done
    return done.stderr


def test_a_reload_changes_what_the_host_allows_during_a_migration_and_a_bad_one_does_not():
    vm = domain("vm", hot="300MiB", rate="900MB/s", link="2Gbit/s", speed_limit="30MB/s")
    rules = [{"name": "*", "policy": {"allow_bandwidth": True, "allow_throttle": True}}]
    before = {"host_bandwidth": "100MiB/s", "max_throttled_domains": 0}
    with Host([vm], rules, time_factor=20, config=before) as host:
        host.wait(lambda: limits(host, "vm"))
        assert limits(host, "vm")[0] > 60 * MIB
        write_config(host, rules, host_bandwidth="50MiB/s", max_throttled_domains=-1)
        assert "/max_throttled_domains" in stderr_of(host, "reload", status=1)
        assert field(host, "vm", "max_bandwidth")[0] == "100MiB/s"
        write_config(host, rules, host_bandwidth="50MiB/s", max_throttled_domains=1)
        host.process.send_signal(signal.SIGHUP)
        host.wait(lambda: limits(host, "vm")[-1] <= 50 * MIB)
        host.wait(lambda: host.events("cpu_share"))


def test_a_reload_names_what_has_changed_and_needs_a_restart():
    with Host([], [], config={"poll_interval": "100ms"}) as host:
        write_config(host, [], poll_interval="0.1s", max_throttled_domains=1, uri="test:///x",
                     metrics_listen="[::1]:1")  # outweighed by options
        assert stderr_of(host, "reload") == ""
        write_config(host, [], admin_group="x", qemu_run_dir="/run/x/qemu")
        told = "not before migpolicyd is restarted: qemu_run_dir, admin_group, poll_interval"
        assert stderr_of(host, "reload") == f"migpolicy: {told}\n"
        assert f"configuration reloaded; {told}" in host.log()
