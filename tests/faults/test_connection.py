# SPDX-License-Identifier: LGPL-2.1-or-later
"""The connection to the hypervisor is lost and comes back."""

from simhost import Host, domain, throttled_span


def test_a_guest_throttled_when_the_connection_is_lost_is_released_and_helped_again():
    rules = [{"name": "*", "policy": {"allow_throttle": True, "min_cpu": "10%"}}]
    vm = domain("vm", link="200Mbit/s")
    begin, end = throttled_span(vm, rules, 5)
    assert end - begin > 3, "its throttle was to last long enough"
    lost = begin + 1
    with Host([vm], rules, time_factor=5, disconnect_after=f"{lost:.3f}s",
              reconnect_after="4s") as host:
        host.wait(host.completed)
        host.wait(lambda: host.events("cpu_share")[-1]["value"] == 1)
        shares = [(e["seconds"], e["value"]) for e in host.events("cpu_share")]
        assert shares[0][1] < 1 and shares[0][0] < lost, shares
        assert shares[1][1] == 1 and lost <= shares[1][0] < lost + 1.5, shares
        assert shares[2][1] < 1 and shares[2][0] >= lost + 4, shares
        assert host.metric("migpolicy_libvirt_reconnects_total") == 1
        assert host.stop() == 0


def test_a_connection_that_stays_lost_leaves_the_command_line_answering():
    with Host([domain("vm")], [], disconnect_after="3s") as host:
        host.wait(lambda: "lost the connection" in host.log())
        host.status("--all")
        assert host.metric("migpolicy_libvirt_up") == 0
        assert host.stop() == 0
