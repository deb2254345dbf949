# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a simulated host can tell of the world: what others do, what fails, and what a guest brings."""

import json
import re

import pytest
from simhost import Host, calm, domain


def rules(**policy):
    return [{"name": "*", "policy": policy}]


def at(host, what):
    return [e["seconds"] for e in host.events(what)]


def test_a_guest_that_somebody_else_paused_ends_by_itself_and_is_seen_paused():
    vm = domain("vm", others=[{"at": "20s", "do": "pause"}])
    cancel = rules(allow_cancel="yes", stall_timeout="1s", deadline="1h")
    with Host([vm], cancel, time_factor=5) as host:
        host.wait(host.completed)
        assert host.events("cancelled") == []
        assert len(at(host, "other_pause")) == 1
        assert "switchover" in host.log()
        paused = at(host, "completed")[0] - at(host, "other_pause")[0]
        downtime = host.events("downtime")[0]["value"]
        assert abs(downtime - paused) < 0.1 and downtime > 1


def test_a_pause_that_cannot_be_looked_at_is_not_called_stalled():
    """While libvirt puts a guest away that has left, it answers nothing for seconds."""
    unseen = {"call": "job", "error": "timeout", "after": "21s"}
    vm = domain("vm", link="200Mbit/s", others=[{"at": "20s", "do": "pause"}], failures=[unseen])
    cancel = rules(allow_cancel="yes", stall_timeout="1s", deadline="1h")
    with Host([vm], cancel, time_factor=5) as host:
        host.wait(host.completed)
        assert at(host, "completed")[0] - at(host, "other_pause")[0] > 5, "it was to take long"
        assert host.events("cancelled") == [] and "stall_timeout" not in host.log()


def test_a_pause_of_ours_is_neither_taken_for_the_switchover_nor_cancelled():
    vm = domain("vm", hot="300MiB", rate="600MB/s", zero="0B")
    policy = rules(allow_suspend="yes", allow_cancel="yes", stall_timeout="1s", deadline="1h")
    with Host([vm], policy, time_factor=5) as host:
        host.wait(host.completed)
        assert len(host.events("suspend")) == 1 and host.events("cancelled") == []
        assert host.events("downtime")[0]["value"] > 2, "it was to take longer than stall_timeout"


def test_a_pause_that_is_taken_back_leaves_the_migration_going_on():
    vm = domain("vm", others=[{"at": "20s", "do": "pause"}, {"at": "20.5s", "do": "resume"}])
    with Host([vm], [], time_factor=5) as host:
        host.wait(lambda: host.events("other_resume"))
        host.wait(lambda: [m for m in host.status() if m["iteration"] > 12])
        assert host.completed() == set()


def test_a_cancel_by_somebody_else_is_seen_as_a_failure_and_the_retry_is_followed():
    vm = domain("vm", others=[{"at": "10s", "do": "cancel"}, {"at": "40s", "do": "cancel"}],
                retry_after="5s")
    with Host([vm], [], time_factor=5) as host:
        host.wait(lambda: "migration failed" in host.log())
        host.wait(lambda: host.events("retried"))
        host.wait(lambda: host.log().count("outgoing migration detected") == 2)
        host.wait(lambda: host.log().count("migration failed") == 2)
        assert len(host.events("retried")) == 1


@pytest.mark.parametrize("after", ["500ms", "1ms"])
def test_a_retry_at_once_is_seen_in_its_first_pass_and_the_failure_before_it_is_told(after):
    vm = domain("vm", ram="8GiB", zero="0B", others=[{"at": "5s", "do": "cancel"}],
                retry_after=after)
    with Host([vm], [], time_factor=4) as host:
        host.wait(lambda: host.events("retried"))
        host.wait(lambda: host.log().count("outgoing migration detected") == 2)
        seen_ms = int(re.findall(r"detected, (\d+) ms after", host.log())[1])
        assert seen_ms < 8 * 1024**3 / 100e6 * 1000, "the first pass was over"
        assert host.log().count("migration failed") == 1
        host.wait(lambda: len(host.status()) == 1)


def test_a_vm_that_libvirt_forgets_only_after_telling_that_it_left_is_gone():
    """As a transient one is, and of that libvirt tells nothing."""
    with Host([calm("vm", forgotten_after="500ms")], [], time_factor=4) as host:
        assert host.tried("show", "vm").returncode == 0
        host.wait(host.completed)
        host.wait(lambda: host.tried("show", "vm").returncode == 4)


def test_another_writer_moves_the_limits_on_a_schedule():
    vm = domain("vm", speed_limit="80MB/s", others=[
        {"at": "2s", "do": "downtime", "value": "100ms"},
        {"at": "4s", "do": "downtime", "value": "150ms"},
        {"at": "6s", "do": "speed", "value": "60MB/s"}])
    with Host([vm], [], time_factor=2) as host:
        host.wait(lambda: host.events("other_speed"))
        host.wait(lambda: "to 150 ms" in host.log())


# Of the limit: Nova's for a guest of 200 MB, ten times as fast, and VDSM's for one that makes an
# iteration in each of its polls; it aborts where that does not suffice.
NOVA = [{"at": f"{1 + 15 * i}s", "do": "downtime", "value": f"{50 + 45 * i}ms"} for i in range(11)]
VDSM = [{"at": f"{1 + 10 * i}s", "do": "downtime", "value": f"{limit}ms"}
        for i, limit in enumerate((100, 150, 200, 300, 400, 500))] + [{"at": "71s", "do": "cancel"}]


@pytest.mark.parametrize("schedule", [NOVA, VDSM], ids=["nova", "vdsm"])
@pytest.mark.parametrize("policy", [{"allow_throttle": "yes"},
                                    {"max_downtime": "3s", "on_other_writer": "hold"}],
                         ids=["throttle", "hold"])
def test_what_a_stepper_of_limits_would_not_end_in_time_ends_beside_it(schedule, policy):
    with Host([domain("vm", others=schedule)], rules(**policy), time_factor=5) as host:
        host.wait(host.completed)
        assert host.events("other_downtime") and not host.events("other_cancel")
        ours = host.events("set_downtime")
        if "max_downtime" in policy:
            assert 1 <= len(ours) <= 20 and host.events("cpu_share") == []
        else:
            assert ours == []


def test_another_writer_of_quotas_is_noticed_and_left_alone():
    vm = domain("vm", zero="0B", others=[{"at": "14s", "do": "quota", "value": "70%"}])
    with Host([vm], rules(allow_throttle="yes", min_cpu="50%", max_work_lost="10m"),
              time_factor=5) as host:
        host.wait(lambda: host.events("other_quota"))
        host.wait(lambda: host.completed() or [m for m in host.status() if m["iteration"] > 20])
        shares = [e["value"] for e in host.events("cpu_share")]
        assert shares[-1] == 0.7


def test_a_call_fails_as_often_as_the_scenario_says_and_no_more():
    vm = domain("vm", failures=[{"call": "set-downtime", "error": "timeout", "times": 1}])
    with Host([vm], rules(max_downtime="3s")) as host:
        host.wait(host.completed)
        assert len(host.events("call_failed")) == 1
        assert "cannot acquire state change lock" in host.log()
        assert len(host.events("set_downtime")) >= 1


@pytest.mark.parametrize("call,allowed,done", [
    ("post-copy", {"allow_post_copy": "yes"}, "post_copy"),
    ("suspend", {"allow_suspend": "yes"}, "suspend"),
    ("set-speed", {"allow_bandwidth": "yes"}, "set_speed")])
def test_an_action_that_fails_once_is_tried_again(call, allowed, done):
    limit = {"speed_limit": "30MB/s"} if call == "set-speed" else {}
    vm = domain("vm", post_copy=True, failures=[{"call": call, "error": "timeout", "times": 1}],
                **limit)
    with Host([vm], rules(**allowed), time_factor=5) as host:
        host.wait(lambda: host.events(done))
        assert len(host.events("call_failed")) == 1
        assert "cannot acquire state change lock" in host.log()


def test_storage_comes_first_and_is_no_pass():
    vm = calm("vm", ram="512MiB")
    vm["guest"]["disk"] = "2GB"
    with Host([vm], [], time_factor=2) as host:
        host.wait(host.completed)
        detected_ms = int(re.search(r"detected, (\d+) ms after", host.log()).group(1))
        assert detected_ms >= 20_000


def test_devices_that_do_not_fit_hold_back_the_switchover():
    vm = calm("vm")
    vm["guest"]["device"] = "200MB"
    with Host([vm], [], time_factor=10) as host:
        host.wait(lambda: [m for m in host.status() if m["iteration"] > 100])
        assert host.completed() == set()


def test_devices_that_need_more_than_the_limit_get_it():
    vm = calm("vm")
    vm["guest"]["device"] = "200MB"
    with Host([vm], rules(max_downtime="10s"), time_factor=5) as host:
        host.wait(host.completed)
        assert 2 <= host.events("set_downtime")[-1]["value"] < 4


def test_qemus_own_throttle_ends_it_and_is_not_stacked_upon():
    with Host([domain("vm", auto_converge=True)], rules(allow_throttle="yes")) as host:
        host.wait(host.completed)
        assert host.events("cpu_share") == []


def test_hundreds_of_vcpus_are_told_apart():
    vm = domain("vm")
    vm["guest"]["vcpus"] = 448
    with Host([vm], rules(allow_throttle="yes", min_cpu="20%"), time_factor=5) as host:
        host.wait(lambda: host.events("cpu_share"))
        host.wait(host.completed)


def test_a_share_is_of_what_a_limit_on_all_vcpus_leaves_to_each():
    """Eight busy vCPUs under two CPUs: a fifth of one CPU each would be 80% of their speed."""
    vm = domain("vm", rate="840MB/s")
    vm["guest"] |= {"vcpus": 8, "shared_cpus": 2}
    with Host([vm], rules(allow_throttle="yes", min_cpu="20%", max_downtime="300ms"),
              time_factor=5) as host:
        host.wait(host.completed)
        shares = [e["value"] for e in host.events("cpu_share")]
        assert min(shares) < 0.5
        host.wait(lambda: json.loads(host.command("history", "--json"))["migrations"])
        (told,) = json.loads(host.command("history", "--json"))["migrations"]
        assert told["work_lost_seconds"] > 0.5, "it was taken for running at nearly its speed"
