# SPDX-License-Identifier: LGPL-2.1-or-later
"""A domain whose calls never return, and one whose calls fail."""

import re

import pytest
from simhost import Host, domain, throttled_span

RULES = [{"name": "*", "policy": {"allow_throttle": True}}]
CROWD = [domain(f"vm{i}") for i in range(8)]


def test_those_that_hang_delay_nobody():
    stuck = [domain(f"stuck{i}", hang_after="1s") for i in range(5)]
    with Host([*stuck, *CROWD], RULES, time_factor=5) as host:
        host.wait(lambda: len(host.events("cpu_share")) > 0)
        for _ in range(20):  # nor those who ask
            host.status()
            host.scrape()
        host.wait(lambda: host.completed() >= {d["name"] for d in CROWD})
        # Each was throttled right at a sync, as if nobody hung.
        assert {e["name"] for e in host.events("cpu_share") if e["value"] < 1} == \
            {d["name"] for d in CROWD}
        assert {d["name"] for d in stuck} <= {m["vm"] for m in host.status()}
        host.stop()


def test_figures_nobody_renews_say_how_old_they_are():
    with Host([domain("stuck", hang_after="1s"), domain("fine", ram="8GiB")], [],
              time_factor=5) as host:
        host.wait(lambda: len(host.status()) == 2)
        host.wait(lambda: "old" in host.command("status", "stuck"))
        old = host.status("stuck")[0]["age_seconds"]
        assert old > 5
        host.wait(lambda: host.status("stuck")[0]["age_seconds"] > old)
        host.wait(lambda: host.status("fine")[0]["age_seconds"] < 5)
        assert "ago" in host.command("explain", "stuck")
        read = {vm: float(re.search(rf'_sample_timestamp_seconds{{vm="{vm}".*}} (\S+)',
                                    host.scrape()).group(1)) for vm in ("stuck", "fine")}
        assert read["stuck"] < read["fine"]


@pytest.mark.parametrize("fault", ["hang_after", "fail_after"])
def test_one_that_goes_silent_while_throttled_gets_its_cpu_back(fault):
    rules = [{"name": "*", "policy": {"allow_throttle": True, "min_cpu": "10%"}}]
    vm = domain("vm", link="200Mbit/s")
    begin, end = throttled_span(vm, rules, 5)
    assert end - begin > 6, "its throttle was to last long enough"
    silent = begin + 1
    vm[fault] = f"{silent - 1:.3f}s"  # it starts at 1 s
    with Host([vm], rules, time_factor=5) as host:
        host.wait(lambda: host.events("cpu_share"))
        host.wait(lambda: host.events("cpu_share")[-1]["value"] == 1)
        lifted = host.events("cpu_share")[-1]["seconds"]
        assert lifted > silent + 2.5, (begin, end, host.events())
        assert not host.completed(), "it was to be lifted while it migrated"
        host.wait(lambda: host.metric("migpolicy_throttled_domains") == 0)
