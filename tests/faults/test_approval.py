# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an administrator is asked, and what comes of the answer, or of none."""

import json
import os
import subprocess

import pytest
from simhost import MIGPOLICY, PATIENCE_S, Host, domain

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may approve here")

ASK = {"allow_throttle": "ask", "min_cpu": "10%"}


def rules(**policy):
    return [{"name": "*", "policy": {**ASK, **policy}}]


def run(host, *args, **user):
    done = subprocess.run([MIGPOLICY, "--socket", host.dir / "run/io.migpolicy", *args],
                          capture_output=True, text=True, timeout=PATIENCE_S, **user)
    return done.returncode, done.stdout, done.stderr


def pending(host):
    return json.loads(host.command("pending", "--json"))["proposals"]


def asked(host):
    """The first proposal, once there is one."""
    return host.wait(lambda: pending(host))[0]


def events(host, vm="vm"):
    found = json.loads(host.command("explain", vm, "--json"))["events"]
    return [(e["action"], e["result"], e["reason"]) for e in found]


def audit(host, **fields):
    """The first such entry of the audit log, which is written behind what happens."""
    path = host.state_dir / "audit.jsonl"

    def find():
        lines = path.read_text().splitlines() if path.exists() else []
        return [e for e in map(json.loads, lines) if e.items() >= fields.items()]

    host.wait(find)
    return find()[0]


def actions(host, action, result, reason):
    return host.metric(f'migpolicy_actions_total{{action="{action}",result="{result}",'
                       f'reason="{reason}"}}')


def test_what_is_approved_is_done_and_the_migration_ends():
    with Host([domain("vm")], rules()) as host:
        p = asked(host)
        assert (p["vm"], p["action"], p["verdict"]) == ("vm", "throttle", "needs-help")
        assert p["dirty_rate_bytes_per_second"] > p["transfer_rate_bytes_per_second"] > 0
        assert p["plateau_bytes"] > 0 and p["seconds"] > 0 and p["work_lost_seconds"] > 0
        assert 0 < p["expires_seconds"] <= 300 and "CPU at 10%" in p["detail"]
        assert host.status()[0]["next_action"].endswith(f"(migpolicy approve {p['id']})")
        host.wait(lambda: host.metric("migpolicy_pending_proposals") == 1)
        assert f'migpolicy_migration_pending_proposals{{vm="vm",uuid="{p["uuid"]}"}} 1' \
            in host.scrape()
        assert p["detail"][:10] in host.command("pending")
        assert not host.events("cpu_share")
        assert host.command("approve", str(p["id"])).startswith("vm: approved: CPU at 10%")
        assert not pending(host)
        host.wait(host.completed)
        told = events(host)
        assert [e[1] for e in told[:3]] == ["proposed", "approved", "applied"]
        assert audit(host, result="applied")["approved_by"] == "uid 0, when asked"
        assert audit(host, result="approved")["approved_by"] == "uid 0"
        host.wait(lambda: host.metric("migpolicy_pending_proposals") == 0)


def test_what_nobody_answers_is_not_done_and_is_asked_once():
    with Host([domain("vm")], rules(ask_timeout="20s")) as host:
        first = asked(host)
        host.wait(lambda: ("throttle", "denied", "ask-timeout") in events(host))
        assert run(host, "approve", str(first["id"]))[0] == 4
        for _ in range(20):
            assert not pending(host)
        assert not host.events("cpu_share")
        assert [e[1] for e in events(host) if e[0] == "throttle"] == ["proposed", "denied"]
        assert actions(host, "throttle", "denied", "ask-timeout") == 1
        assert audit(host, result="denied")["reason"] == "ask-timeout"


def test_what_is_denied_is_not_done_and_the_next_rung_is_asked_about():
    with Host([domain("vm", post_copy=True)], rules(allow_post_copy="ask")) as host:
        first = asked(host)
        assert first["action"] == "throttle"
        assert host.command("deny", str(first["id"]), "-q") == ""
        second = asked(host)
        assert second["action"] == "post-copy" and second["id"] != first["id"]
        assert ("throttle", "denied", "denied") in events(host)
        assert "denied by uid 0" in audit(host, result="denied")["detail"]
        host.command("approve", str(second["id"]))
        host.wait(host.completed)
        assert not host.events("cpu_share")


def test_an_answer_holds_for_one_migration():
    with Host([domain("vm"), domain("other", start="2s")], rules()) as host:
        host.wait(lambda: len(pending(host)) == 2)
        ids = {p["vm"]: p["id"] for p in pending(host)}
        host.command("approve", str(ids["vm"]))
        host.wait(host.completed)
        assert host.completed() == {"vm"}
        assert [p["vm"] for p in pending(host)] == ["other"]
        assert not host.events("cpu_share", "other")


def test_questions_are_answered_by_vm_several_at_once_or_all():
    """And what cannot be answered among them is told, and keeps none of the others back."""
    vms = [domain(name) for name in ("a", "b", "c", "d")]
    with Host(vms, rules()) as host:
        asked_about = host.wait(lambda: len(found := pending(host)) == 4 and found)
        ids = {p["vm"]: str(p["id"]) for p in asked_about}
        uuid = next(p["uuid"] for p in asked_about if p["vm"] == "b")
        status, said, complaint = run(host, "approve", ids["a"], "nobody", f"uuid:{uuid}")
        assert (status, [line.split(":")[0] for line in said.splitlines()]) == (4, ["a", "b"])
        assert complaint.count("\n") == 1 and '"nobody"' in complaint
        assert {p["vm"] for p in pending(host)} == {"c", "d"}
        assert host.command("deny", "c").startswith("c: denied: ")
        assert host.command("approve", "--all").startswith("d: approved: ")
        assert host.command("approve", "--all") == "nothing waits for an answer\n"
        host.wait(lambda: host.completed() == {"a", "b", "d"})
        assert run(host, "approve")[0] == run(host, "approve", "--all", "c")[0] == 2
        assert not host.events("cpu_share", "c")


def test_a_yes_up_to_a_ceiling_binds_the_throttle_and_one_below_what_is_asked_answers_nothing():
    with Host([domain("vm")], rules()) as host:
        p = asked(host)
        cost = p["work_lost_seconds"] - p["downtime_seconds"]
        code, _, err = run(host, "approve", str(p["id"]), "--max-work-lost", f"{cost / 2:.1f}s")
        assert (code, err.count("\n")) == (6, 1) and "more than --max-work-lost" in err
        assert pending(host) and not host.events("cpu_share")
        assert run(host, "approve", str(p["id"]), "--max-work-lost", "much")[0] == 2
        assert run(host, "deny", str(p["id"]), "--max-work-lost", "1s")[0] == 2
        host.command("approve", "vm", "--max-work-lost", f"{cost + 20:.0f}s")
        host.wait(host.completed)
        assert host.events("cpu_share")


def test_what_was_approved_is_in_the_policy_as_long_as_the_migration_lasts():
    """Which a throttle does not end that slows no writing."""
    vm = domain("vm")
    vm["guest"]["regions"][0] |= {"rate": "150MB/s", "cpu_bound": "0%"}
    with Host([vm], rules()) as host:
        p = asked(host)
        cost = p["work_lost_seconds"] - p["downtime_seconds"]
        host.command("approve", "vm", "--max-work-lost", f"{cost + 20:.0f}s")
        host.wait(lambda: host.events("cpu_share"))
        fields = json.loads(host.command("show", "vm", "--json"))["fields"]
        shown = {f["name"]: (f["value"], f["source"]) for f in fields}
        assert shown["allow_throttle"] == ("yes", "uid 0, when asked")
        assert shown["max_work_lost"] == (f"{cost + 20:.0f}s", "uid 0, when asked")
        assert not host.completed()


def test_a_cancel_is_asked_about_too():
    policy = {"allow_throttle": "no", "allow_cancel": "ask", "deadline": "20s",
              "on_deadline": "cancel"}
    with Host([domain("vm")], rules(**policy)) as host:
        p = asked(host)
        assert (p["action"], p["detail"], p["seconds"]) == ("cancel", "cancel", None)
        host.command("approve", str(p["id"]))
        host.wait(lambda: host.events("cancelled") or
                  host.status("-a")[0]["result"] == "cancelled")


@pytest.mark.parametrize("policy, action, reason, detail", [
    ({}, "throttle", "throttle-suffices", "would ask: CPU at 10%"),
    ({"allow_throttle": "no", "allow_cancel": "ask", "deadline": "20s", "on_deadline": "cancel"},
     "cancel", "deadline", "would ask: cancel")])
def test_observing_records_what_would_be_asked_and_asks_nothing(policy, action, reason, detail):
    with Host([domain("vm")], rules(mode="observe", **policy)) as host:
        host.wait(lambda: host.status() and events(host))
        assert host.status()[0]["next_action"] == f"would ask: {action} ({reason})"
        passes = host.status()[0]["iteration"]
        host.wait(lambda: host.status()[0]["iteration"] > passes + 3)
        assert events(host) == [(action, "proposed", reason)]
        assert audit(host, result="proposed")["detail"].startswith(detail)
        assert not pending(host)


def test_others_than_administrators_may_look_and_not_answer():
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    with Host([domain("vm")], rules()) as host:
        host.dir.chmod(0o711)
        (host.dir / "run/io.migpolicy").chmod(0o666)
        number = str(asked(host)["id"])
        assert run(host, "pending", **nobody)[0] == 0
        for verb in "approve", "deny":
            code, _, err = run(host, verb, number, **nobody)
            assert code == 5 and err.count("\n") == 1
        assert asked(host)["id"] == int(number)


@pytest.mark.parametrize("code, args", [
    (2, ["approve"]), (2, ["deny", "-1"]), (4, ["deny", "x"]), (4, ["approve", "99999999999"]),
    (2, ["pending", "vm"]), (4, ["approve", "4294967297"]),
    (4, ["approve", "0"]), (4, ["deny", "77"])])
def test_a_wrong_number_is_one_clear_error(code, args):
    with Host([domain("vm", start="1h")], rules()) as host:
        assert "nothing waits" in host.command("pending")
        got, out, err = run(host, *args)
        assert (got, out) == (code, "") and err.count("\n") == 1, err


THROTTLE = [{"name": "*", "policy": {"allow_throttle": True, "min_cpu": "10%"}}]


def throttled(host, vm="vm"):
    """Whether it is now, by the simulated host's own record."""
    shares = host.events("cpu_share", vm)
    return bool(shares) and shares[-1]["value"] < 1


def slow(name, **more):
    """Throttled for long enough to meddle with it."""
    return domain(name, ram="1GiB", hot="400MiB", rate="450MB/s", link="400Mbit/s", **more)


def test_release_gives_the_cpu_back_and_it_is_not_throttled_again():
    with Host([slow("vm"), domain("later", start="1h")], THROTTLE) as host:
        assert run(host, "release", "later")[0] == 6
        host.wait(lambda: host.status("vm"))
        code, _, err = run(host, "release", "vm")
        assert code == 6 and "not throttled" in err and err.count("\n") == 1
        host.wait(lambda: throttled(host))
        assert "has its CPU back" in host.command("release", "vm")
        host.wait(lambda: not throttled(host))
        count = len(host.events("cpu_share"))
        host.wait(lambda: ("release", "applied", "released") in events(host))
        passes = host.status("vm")[0]["iteration"]
        host.wait(lambda: host.status("vm")[0]["iteration"] >= passes + 2)
        assert len(host.events("cpu_share")) == count
        assert json.loads(host.command("explain", "vm", "--json"))["events"][-1]["approved_by"]
        assert audit(host, action="release", result="applied", by="uid 0")
        assert run(host, "release", "vm")[0] == 6
        assert run(host, "release", "nobody")[0] == 4 and run(host, "release")[0] == 2


@pytest.mark.parametrize("target, source", [([], "host paused by uid 0"),
                                            (["vm"], "paused by uid 0")])
def test_pause_gives_the_cpu_back_at_once_and_survives_a_restart(tmp_path, target, source):
    with Host([slow("vm")], THROTTLE, state_dir=tmp_path) as host:
        host.wait(lambda: throttled(host))
        assert "is paused" in host.command("pause", *target)
        host.wait(lambda: not throttled(host))
        host.wait(lambda: ("release", "applied", "paused") in events(host))
        assert audit(host, result="applied", reason="paused")["approved_by"] == "uid 0"
        assert host.status()[0]["next_action"].startswith(source + "; ")
        assert host.status()[0]["mode"] == "observe"
        shown = json.loads(host.command("show", "vm", "--json"))["fields"]
        assert next((f["value"], f["source"]) for f in shown if f["name"] == "mode") == \
            ("observe", source)
        gauge = "migpolicy_paused_vms" if target else "migpolicy_paused"
        host.wait(lambda: host.metric(gauge) == 1)
    with Host([slow("vm")], THROTTLE, state_dir=tmp_path) as host:
        host.wait(lambda: host.status() and host.status()[0]["verdict"] == "needs-help")
        assert not host.events("cpu_share")
        assert run(host, "pause", *target)[0] == 0
        assert "no longer paused" in host.command("resume", *target)
        host.wait(lambda: throttled(host))
        assert run(host, "resume", *target)[0] == 0


def test_a_vm_stays_paused_while_its_host_is():
    with Host([domain("vm", start="1h")], THROTTLE) as host:
        host.command("pause")
        assert "the host is paused by uid 0" in run(host, "status")[2]
        host.command("pause", "vm")
        assert "the host is, by uid 0" in host.command("resume", "vm")
        host.command("pause", "vm")
        assert "but 1 VM is" in host.command("resume")
        assert json.loads(host.command("status", "--json"))["paused_vms"] == 1
        uuid = json.loads(host.command("show", "vm", "--json"))["uuid"]
        host.command("resume", f"uuid:{uuid}")
        assert json.loads(host.command("status", "--json"))["paused_vms"] == 0
        assert run(host, "pause", "nobody")[0] == 4
        assert run(host, "resume", "vm", "vm")[0] == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"paused_by":{"x":"uid 0"}}',
                                  '{"paused_by":{"host":1}}', '{"paused_by":{"host":"a","host":"b"}}'])
def test_what_is_paused_is_not_known_so_all_is(tmp_path, text):
    (tmp_path / "paused.json").write_text(text)
    for _ in "twice":
        with Host([domain("vm")], THROTTLE, state_dir=tmp_path) as host:
            host.wait(lambda: host.status() and host.status()[0]["verdict"] == "needs-help")
            assert not host.events("cpu_share")
            assert "could not be read" in host.status()[0]["paused"]
    assert (tmp_path / "paused.json.bad").read_text() == text


def test_a_pause_that_cannot_be_stored_pauses_all_the_same(tmp_path):
    with Host([domain("vm", start="3s")], THROTTLE, state_dir=tmp_path) as host:
        (tmp_path / "paused.json.tmp").mkdir()
        code, _, err = run(host, "pause")
        assert code == 1 and "only until migpolicyd is restarted" in err
        host.wait(lambda: host.status() and host.status()[0]["verdict"] == "needs-help")
        assert not host.events("cpu_share")
        (tmp_path / "paused.json.tmp").rmdir()
        host.command("resume")
        host.wait(lambda: throttled(host))


def test_only_administrators_take_the_agent_s_hands_off():
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    with Host([domain("vm", start="1h")], THROTTLE) as host:
        host.dir.chmod(0o711)
        (host.dir / "run/io.migpolicy").chmod(0o666)
        for args in ["pause"], ["pause", "vm"], ["resume"], ["release", "vm"]:
            assert run(host, *args, **nobody)[0] == 5
        assert json.loads(host.command("status", "--json"))["host_paused_by"] is None
