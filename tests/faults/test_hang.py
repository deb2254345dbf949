# SPDX-License-Identifier: LGPL-2.1-or-later
"""A domain whose calls never return, and one whose calls fail."""

import time

import pytest
from simhost import Host, domain

RULES = [{"name": "*", "policy": {"allow_throttle": True}}]
CROWD = [domain(f"vm{i}") for i in range(8)]


def slowest(action, times=20):
    worst = 0
    for _ in range(times):
        start = time.monotonic()
        action()
        worst = max(worst, time.monotonic() - start)
    return worst


def test_one_that_hangs_delays_nobody():
    with Host([domain("stuck", hang_after="1s"), *CROWD], RULES, time_factor=5) as host:
        host.wait(lambda: len(host.events("cpu_share")) > 0, 20)
        assert slowest(host.status) < 1
        assert slowest(host.scrape) < 0.5
        host.wait(lambda: host.completed() >= {d["name"] for d in CROWD}, 20)
        # Each was throttled right at a sync, as if nobody hung.
        assert {e["name"] for e in host.events("cpu_share") if e["value"] < 1} == \
            {d["name"] for d in CROWD}
        assert "stuck" in {m["vm"] for m in host.status()}
        started = time.monotonic()
        host.stop()
        assert time.monotonic() - started < 10


@pytest.mark.parametrize("fault", ["hang_after", "fail_after"])
def test_one_that_goes_silent_while_throttled_gets_its_cpu_back(fault):
    # Its throttle would last from about 9 s to 15 s.
    vm = domain("vm", rate="2GB/s", link="500Mbit/s", **{fault: "10s"})
    rules = [{"name": "*", "policy": {"allow_throttle": True, "max_downtime": "1600ms",
                                      "min_cpu": "10%"}}]
    with Host([vm], rules, time_factor=5) as host:
        host.wait(lambda: host.events("cpu_share"), 20)
        host.wait(lambda: host.events("cpu_share")[-1]["value"] == 1, 20)
        lifted = host.events("cpu_share")[-1]["seconds"]
        assert 12.5 < lifted < 14.5, host.events()
        assert not host.events("completed"), "it was to be lifted while it migrated"
        host.wait(lambda: host.metric("migpolicy_throttled_domains") == 0, 5)
