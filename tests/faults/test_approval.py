# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an administrator is asked, and what comes of the answer, or of none."""

import json
import os
import subprocess

import pytest
from simhost import MIGPOLICY, Host, domain

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may approve here")

ASK = {"allow_throttle": "ask", "min_cpu": "10%"}


def rules(**policy):
    return [{"name": "*", "policy": {**ASK, **policy}}]


def run(host, *args, **user):
    done = subprocess.run([MIGPOLICY, "--socket", host.dir / "run/io.migpolicy", *args],
                          capture_output=True, text=True, timeout=20, **user)
    return done.returncode, done.stdout, done.stderr


def pending(host):
    return json.loads(host.command("pending", "--json"))["proposals"]


def asked(host):
    """The one proposal, once there is one."""
    host.wait(lambda: pending(host), 20)
    return pending(host)[0]


def events(host, vm="vm"):
    found = json.loads(host.command("explain", vm, "--json"))["events"]
    return [(e["action"], e["result"], e["reason"]) for e in found]


def audit(host, result):
    return [e for e in map(json.loads, (host.state_dir / "audit.jsonl").read_text().splitlines())
            if e["result"] == result]


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
        host.wait(lambda: host.metric("migpolicy_pending_proposals") == 1, 5)
        assert f'migpolicy_migration_pending_proposals{{vm="vm",uuid="{p["uuid"]}"}} 1' \
            in host.scrape()
        assert p["detail"][:10] in host.command("pending")
        assert not host.events("cpu_share")
        assert host.command("approve", str(p["id"])).startswith("vm: approved: CPU at 10%")
        assert not pending(host)
        shown = json.loads(host.command("show", "vm", "--json"))["fields"]
        assert next((f["value"], f["source"]) for f in shown if f["name"] == "allow_throttle") == \
            ("yes", "approved by uid 0")
        host.wait(host.completed, 20)
        told = events(host)
        assert [e[1] for e in told[:3]] == ["proposed", "approved", "applied"]
        assert audit(host, "applied")[0]["approved_by"] == "approved by uid 0"
        assert audit(host, "approved")[0]["approved_by"] == "uid 0"
        host.wait(lambda: host.metric("migpolicy_pending_proposals") == 0, 5)


def test_what_nobody_answers_is_not_done_and_is_asked_once():
    with Host([domain("vm")], rules(ask_timeout="20s")) as host:
        first = asked(host)
        host.wait(lambda: ("throttle", "denied", "ask-timeout") in events(host), 20)
        assert run(host, "approve", str(first["id"]))[0] == 4
        for _ in range(20):
            assert not pending(host)
        assert not host.events("cpu_share")
        assert [e[1] for e in events(host) if e[0] == "throttle"] == ["proposed", "denied"]
        assert actions(host, "throttle", "denied", "ask-timeout") == 1
        assert audit(host, "denied")[0]["reason"] == "ask-timeout"


def test_what_is_denied_is_not_done_and_the_next_rung_is_asked_about():
    with Host([domain("vm", post_copy=True)], rules(allow_post_copy="ask")) as host:
        first = asked(host)
        assert first["action"] == "throttle"
        assert host.command("deny", str(first["id"]), "-q") == ""
        second = asked(host)
        assert second["action"] == "post-copy" and second["id"] != first["id"]
        assert ("throttle", "denied", "denied") in events(host)
        assert "denied by uid 0" in audit(host, "denied")[0]["detail"]
        host.command("approve", str(second["id"]))
        host.wait(host.completed, 20)
        assert not host.events("cpu_share")


def test_an_answer_holds_for_one_migration():
    with Host([domain("vm"), domain("other", start="2s")], rules()) as host:
        host.wait(lambda: len(pending(host)) == 2, 20)
        ids = {p["vm"]: p["id"] for p in pending(host)}
        host.command("approve", str(ids["vm"]))
        host.wait(host.completed, 20)
        assert host.completed() == {"vm"}
        assert [p["vm"] for p in pending(host)] == ["other"]
        assert not host.events("cpu_share", "other")


def test_a_cancel_is_asked_about_too():
    policy = {"allow_throttle": "no", "allow_cancel": "ask", "deadline": "20s",
              "on_deadline": "cancel"}
    with Host([domain("vm")], rules(**policy)) as host:
        p = asked(host)
        assert (p["action"], p["detail"], p["seconds"]) == ("cancel", "cancel", None)
        host.command("approve", str(p["id"]))
        host.wait(lambda: host.events("cancelled") or
                  host.status("-a")[0]["result"] == "cancelled", 10)


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
    (2, ["approve"]), (2, ["approve", "1", "2"]), (2, ["deny", "-1"]), (2, ["deny", "x"]),
    (2, ["approve", "99999999999"]), (2, ["pending", "vm"]), (4, ["approve", "4294967297"]),
    (4, ["approve", "0"]), (4, ["deny", "77"])])
def test_a_wrong_number_is_one_clear_error(code, args):
    with Host([domain("vm", start="1h")], rules()) as host:
        assert "nothing waits" in host.command("pending")
        got, out, err = run(host, *args)
        assert (got, out) == (code, "") and err.count("\n") == 1, err
