# SPDX-License-Identifier: LGPL-2.1-or-later
"""What each action does to a simulated domain, and a switchover that does not end."""

import pytest
from simhost import Host, domain


def rules(**policy):
    return [{"name": "*", "policy": policy}]


def test_post_copy_ends_a_migration_that_was_started_with_it():
    with Host([domain("vm", post_copy=True)], rules(allow_post_copy="yes")) as host:
        host.wait(host.completed)
        assert len(host.events("post_copy")) == 1


def test_post_copy_that_is_not_possible_gives_way_to_a_pause():
    with Host([domain("vm")], rules(allow_post_copy="yes", allow_suspend="yes")) as host:
        host.wait(host.completed)
        assert len(host.events("suspend")) == 1
        assert "not started with post-copy" in host.log()


def test_a_speed_limit_is_raised_and_the_guest_left_alone():
    vm = domain("vm", rate="45MB/s", speed_limit="30MB/s")
    with Host([vm], rules(allow_bandwidth="yes", allow_throttle="yes")) as host:
        host.wait(host.completed)
        assert all(30e6 < e["value"] < 100e6 for e in host.events("set_speed"))
        assert host.events("cpu_share") == []


def test_a_speed_limit_is_put_back_when_the_agent_stops():
    vm = domain("vm", speed_limit="30MB/s")
    policy = rules(allow_bandwidth="yes", max_bandwidth="50MB/s")
    with Host([vm], policy) as host:
        host.wait(lambda: host.events("set_speed"))
        host.stop()
        assert [e["value"] for e in host.events("set_speed")] == [5e7, 3e7]


@pytest.mark.parametrize("cancelled", ["50s", "31s"])
def test_a_speed_limit_is_put_back_although_libvirt_was_lost_in_between(cancelled):
    vm = domain("vm", speed_limit="30MB/s", others=[{"at": cancelled, "do": "cancel"}])
    policy = rules(allow_bandwidth="yes", max_bandwidth="50MB/s")
    with Host([vm], policy, time_factor=5, disconnect_after="30s", reconnect_after="5s") as host:
        host.wait(lambda: host.events("cancelled"))
        host.wait(lambda: len(host.events("set_speed")) == 2)
        assert [e["value"] for e in host.events("set_speed")] == [5e7, 3e7]
        assert host.events("set_speed")[1]["seconds"] > 35


@pytest.mark.parametrize("allowed", ["yes", "no"])
def test_a_switchover_that_does_not_end_is_noticed_and_cancelled_if_allowed(allowed):
    vm = domain("vm", rate="20MB/s", hot="20MiB", switchover="1h")
    policy = rules(allow_cancel=allowed, stall_timeout="10s", max_downtime="1s")
    with Host([vm], policy, time_factor=20) as host:
        host.wait(lambda: "has not ended within stall_timeout" in host.log())
        if allowed == "yes":
            host.wait(lambda: host.events("cancelled"))
            host.wait(lambda: "migration cancelled after" in host.log())
        else:
            assert [m["verdict"] for m in host.status()] == ["stalled"]
            assert host.events("cancelled") == []
