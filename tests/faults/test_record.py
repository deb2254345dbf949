# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lasting record: who decided what, and how migrations ended."""

import json
import os
import socket
import subprocess

import pytest
from simhost import MIGPOLICY, PATIENCE_S, Host, calm, domain

RULES = [{"name": "*", "policy": {"allow_throttle": True, "max_downtime": "500ms"}}]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def audit(host):
    return lines(host.state_dir / "audit.jsonl")


def stranger(host, *args):
    """The exit status of migpolicy for somebody who may connect, and no more."""
    user = {}
    if os.geteuid() == 0:
        user = {"user": 65534, "group": 65534, "extra_groups": []}
        host.dir.chmod(0o711)
        (host.dir / "run/io.migpolicy").chmod(0o666)
    return subprocess.run([MIGPOLICY, "--socket", host.dir / "run/io.migpolicy", *args],
                          capture_output=True, timeout=PATIENCE_S, **user).returncode


def test_actions_are_on_record_with_evidence_and_who_approved(tmp_path):
    with Host([domain("vm")], RULES, state_dir=tmp_path) as host:
        host.wait(host.completed)
        host.wait(lambda: (tmp_path / "history.jsonl").exists())
        host.wait(lambda: audit(host)[-1]["action"] == "release")  # it is written behind
        throttle = [e for e in audit(host) if e["action"] == "throttle"][0]
        assert (throttle["vm"], throttle["result"]) == ("vm", "applied")
        assert "rule" in throttle["approved_by"] or "migpolicyd.json" in throttle["approved_by"]
        assert throttle["verdict"] in ("needs-help", "helped")
        assert throttle["iteration"] > 1 and throttle["memory_remaining_bytes"] > 0
        assert throttle["dirty_rate_bytes_per_second"] > 0
        times = [e["time"] for e in audit(host)]
        assert times == sorted(times)
        assert json.loads(host.command("explain", "vm", "--json"))["events"] == \
            [{k: v for k, v in e.items() if k not in ("vm", "uuid", "schema_version")}
             for e in audit(host)]


@pytest.mark.skipif(os.geteuid() != 0, reason="takes a mount namespace")
def test_the_journal_gets_fields_where_stderr_is_the_journal(tmp_path):
    # A /run of its own, in which the journal's socket is ours.
    script = (f"mount -t tmpfs none /run && mkdir /run/systemd && ln -s {tmp_path} "
              "/run/systemd/journal && "
              'JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec "$@"')
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        journal.settimeout(PATIENCE_S)
        with Host([domain("vm\n1")], RULES, wrapper=["unshare", "-m", "sh", "-c", script, "sh"],
                  state_dir=tmp_path) as host:
            entry = b""
            while b"MIGPOLICY_ACTION=throttle\n" not in entry:
                entry = journal.recv(65536)
            assert "throttle applied" not in host.log() and "<6>connected" in host.log()
    fields = dict(f.split(b"=", 1) for f in entry.split(b"\n") if b"=" in f)
    assert fields[b"MIGPOLICY_RESULT"] == b"applied" and fields[b"PRIORITY"] == b"6"
    assert fields[b"MIGPOLICY_REASON"] == b"throttle-suffices"
    assert fields[b"MIGPOLICY_UUID"].startswith(b"51310000-")
    assert fields[b"MIGPOLICY_APPROVED_BY"].endswith(b"/rules/0, by name *")
    assert fields[b"MESSAGE"].startswith(b"vm?1: throttle applied")
    # A value of several lines is sent with its length before it.
    assert b"MIGPOLICY_VM\n" + (4).to_bytes(8, "little") + b"vm\n1\n" in entry


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may set policies here")
def test_set_unset_and_refusals_are_on_record(tmp_path):
    with Host([calm("vm", start="1h")], [], state_dir=tmp_path) as host:
        host.wait(lambda: stranger(host, "show", "vm") == 0)
        host.command("set", "vm", "--max-downtime=2s", "--min-cpu=30%")
        assert stranger(host, "set", "vm", "--allow-cancel") == 5
        host.command("unset", "vm", "min_cpu")
        host.command("unset", "vm", "--all")
        assert host.stop() == 0
    found = lines(tmp_path / "audit.jsonl")
    assert [(e["action"], e["result"], e["by"]) for e in found] == [
        ("set", "applied", "uid 0"), ("set", "denied", "uid 65534"),
        ("unset", "applied", "uid 0"), ("unset", "applied", "uid 0")]
    assert found[0]["detail"] == "max_downtime=2s min_cpu=30%"
    assert found[0]["approved_by"] == "uid 0" and found[1]["approved_by"] is None
    assert all(e["vm"] == "vm" and e["pid"] > 0 and e["schema_version"] == 1 for e in found)
    assert "min_cpu" in found[2]["detail"]


def test_a_record_that_cannot_be_written_is_said_once_and_counted(tmp_path):
    (tmp_path / "audit.jsonl").mkdir()
    (tmp_path / "history.jsonl").mkdir()
    with Host([domain("vm"), calm("calm")], RULES, state_dir=tmp_path) as host:
        host.wait(lambda: len(host.completed()) == 2)
        host.wait(lambda: host.metric("migpolicy_record_failures_total") >= 4)
        assert host.log().count("cannot be recorded") == 1
        assert host.stop() == 0


def run(host, *args):
    done = subprocess.run([MIGPOLICY, "--socket", host.dir / "run/io.migpolicy", *args],
                          capture_output=True, text=True, timeout=PATIENCE_S)
    return done.returncode, done.stdout, done.stderr


def test_a_hostile_name_reaches_no_terminal(tmp_path):
    name = "evil\u009b31m\u202e\u007f caf\u00e9"
    with Host([calm(name)], [], state_dir=tmp_path) as host:
        host.wait(lambda: lines(tmp_path / "history.jsonl"))
        said = [host.command(*args) for args in (
            ("history", "--json"), ("history", "-o", "jsonl"), ("history",),
            ("explain", name, "--json"), ("explain", name))]
        assert host.stop() == 0
        said += [host.log(), *(f.read_text() for f in tmp_path.glob("*.jsonl"))]
    assert json.loads(said[0])["migrations"][0]["vm"] == name
    for text in said:
        assert not set("\u009b\u202e\u007f") & set(text)
        assert "evil" in text


def test_history_outlives_the_agent_and_the_vm(tmp_path):
    with Host([domain("vm"), calm("calm")], RULES, state_dir=tmp_path) as host:
        assert "no migration is on record" in host.command("history")
        host.wait(lambda: len(lines(tmp_path / "history.jsonl")) == 2)
        assert host.stop() == 0
    with open(tmp_path / "history.jsonl", "a") as f:
        f.write('{"schema_version":1,"vm":"to')  # as a crash would leave it
    with Host([calm("another", start="1h")], RULES, state_dir=tmp_path) as host:
        found = json.loads(host.command("history", "--json"))["migrations"]
        assert {m["vm"] for m in found} == {"vm", "calm"}
        assert [m["ended"] for m in found] == sorted((m["ended"] for m in found), reverse=True)
        vm = json.loads(host.command("history", "vm", "-o", "jsonl"))
        assert vm == next(m for m in found if m["vm"] == "vm")
        assert vm["result"] == "completed" and vm["started"] < vm["ended"]
        assert vm["throttled_seconds"] > 0 and vm["downtime_seconds"] > 0
        assert vm["events"][0]["approved_by"]
        assert (tmp_path / "traces" / vm["trace"]).exists()
        assert json.loads(host.command("history", f"uuid:{vm['uuid']}", "--json"))["migrations"] \
            == [vm]
        table = host.command("history", "v*")
        assert "throttle" in table and "calm" not in table and table.count("\n") == 2
        code, _, err = run(host, "history", "nobody")
        assert code == 4 and err.count("\n") == 1


def test_wait_tells_how_the_migration_ended(tmp_path):
    cancelled = domain("vm", start="2s")
    rules = [{"name": "*", "policy": {"allow_cancel": True, "deadline": "2m",
                                      "on_deadline": "cancel"}}]
    with Host([calm("calm", start="2s", ram="2GiB", zero="0B"), cancelled, calm("later", start="1h")], rules,
              state_dir=tmp_path) as host:
        assert run(host, "wait", "nobody")[0] == 4
        assert run(host, "wait", "later")[0] == 6
        assert run(host, "wait", "vm", "--timeout=2")[0] == 2
        host.wait(lambda: "vm" in {m["vm"] for m in host.status()})
        code, _, err = run(host, "wait", "vm", "--timeout", "100ms")
        assert code == 7 and "still under way" in err
        code, out, err = run(host, "wait", "calm")
        assert (code, err) == (0, "") and out.startswith("calm: completed after")
        code, out, err = run(host, "wait", "vm", "--timeout=1m", "--json")
        assert code == 8 and "was cancelled" in err and err.count("\n") == 1
        assert json.loads(out)["result"] == "cancelled"
    assert run(host, "wait", "vm")[0] == 3


def call(host, method, **parameters):
    """The error of a call on the control socket, or None."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(PATIENCE_S)
        s.connect(str(host.dir / "run/io.migpolicy"))
        s.sendall(json.dumps({"method": f"io.migpolicy.{method}",
                              "parameters": parameters}).encode() + b"\0")
        reply = b""
        while not reply.endswith(b"\0"):
            reply += s.recv(65536)
        return json.loads(reply[:-1]).get("error")


def by_request(path):
    """The lines that are about requests, and not what comes of them."""
    return [e for e in lines(path) if "by" in e or e["result"] in ("approved", "denied")]


GONE = "uuid:51310000-0000-4000-8000-00000000ffff"
FIELDS = {"min_cpu": "30%"}
# Method, parameters, and what is on record: result, VM, the beginning of the detail.
REQUESTS = [
    ("Release", {"vm": "slow"}, "applied", "slow", "its CPU is given back"),
    ("Set", {"vm": "idle", "fields": FIELDS}, "applied", "idle", "min_cpu=30%"),
    ("Set", {"vm": "idle", "fields": {"min_cpu": "0"}}, "failed", "idle", "BadValue: min_cpu, 0, "),
    ("Set", {"vm": "idle", "fields": {"min_cpu": None}}, "failed", "idle", "BadValue: min_cpu, "),
    ("Set", {"vm": "idle", "fields": {}}, "failed", "idle", "InvalidParameter: fields"),
    ("Set", {"vm": "idle", "fields": FIELDS, "expires": "1"}, "failed", "idle", "BadValue: expires"),
    ("Set", {"vm": "no", "fields": FIELDS}, "failed", "no", "NoSuchVM: no"),
    ("Set", {"vm": 1}, "failed", None, "InvalidParameter: vm"),
    ("Unset", {"vm": "idle", "fields": ["min_cpu"]}, "applied", "idle", '["min_cpu"]'),
    ("Unset", {"vm": "idle", "fields": ["x"]}, "failed", "idle", "BadValue: x"),
    ("Unset", {"vm": "idle", "fields": 1}, "failed", "idle", "InvalidParameter: fields"),
    ("Unset", {"vm": "no", "fields": []}, "failed", "no", "NoSuchVM: no"),
    ("Apply", {"vms": {"idle": {"policy": FIELDS}}}, "applied", "idle", "min_cpu=30%"),
    ("Apply", {"vms": {"idle": {"policy": {"x": 1}}}}, "failed", None, "BadValue: x, idle, "),
    ("Apply", {"vms": {"no": {"policy": {}}}}, "failed", None, "NoSuchVM: no"),
    ("Apply", {"vms": []}, "failed", None, "InvalidParameter: vms"),
    ("ChangeMetadata", {"vm": "idle", "fields": FIELDS}, "applied", "idle", "metadata: "),
    ("ChangeMetadata", {"vm": "idle", "fields": {"min_cpu": "x"}}, "failed", "idle", "BadValue: "),
    ("ChangeMetadata", {"vm": "idle", "fields": []}, "failed", "idle", "InvalidParameter: fields"),
    ("ChangeMetadata", {"vm": "no", "fields": FIELDS}, "failed", "no", "NoSuchVM: no"),
    ("ChangeMetadata", {"vm": "vm", "fields": FIELDS}, "failed", "vm", "Refused: libvirt does not"),
    ("Pause", {"vm": "idle"}, "applied", "idle", "this VM"),
    ("Pause", {"vm": GONE}, "failed", GONE, "NoSuchVM: "),
    ("Resume", {"vm": "idle"}, "applied", "idle", "this VM"),
    ("Resume", {"vm": 5}, "failed", None, "InvalidParameter: vm"),
    ("Resume", {}, "applied", None, "the host"),
    ("Release", {"vm": "idle"}, "failed", "idle", "Refused: the VM is not migrating"),
    ("Release", {"vm": "vm"}, "failed", "vm", "Refused: the VM is not throttled"),
    ("Approve", {"id": 0}, "failed", None, "NoSuchProposal: 0"),
    ("Deny", {}, "failed", None, "InvalidParameter: id"),
    ("Deny", {"id": "asked"}, "denied", "vm", "denied by uid 0: CPU at"),
    ("Approve", {"id": "asked"}, "approved", "vm", "suspend"),
    ("Pause", {}, "applied", None, "the host"),
    ("Reload", {}, "applied", None, "configuration"),
    ("Reload", {}, "failed", None, "BadConfig: "),
]
READING = [("Status", {"vm": "no"}), ("Show", {"vm": "no"}), ("Explain", {}), ("Show", {"vm": "vm"}),
           ("History", {"limit": -1}), ("Predict", {"vm": "no"}), ("Pending", {})]
DENIED = [["set", "idle", "--mode=observe"], ["set", "idle", "--scope=metadata", "--mode=observe"],
          ["unset", "idle", "-a"], ["apply", "-f"], ["reload"], ["pause"], ["resume"],
          ["release", "vm"], ["approve", "1"], ["deny", "1"]]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change things here")
def test_each_request_to_change_something_is_one_line_on_record(tmp_path):
    slow = domain("slow", ram="1GiB", hot="400MiB", rate="450MB/s", link="400Mbit/s")
    rules = [{"name": "slow", "policy": {"allow_throttle": True, "min_cpu": "10%"}},
             {"name": "vm", "policy": {"allow_throttle": "ask", "allow_suspend": "ask"}}]
    with Host([domain("vm"), slow, calm("idle", start="1h")], rules, state_dir=tmp_path) as host:
        def asked():
            return json.loads(host.command("pending", "--json"))["proposals"]

        def throttled():
            shares = host.events("cpu_share", "slow")
            return shares and shares[-1]["value"] < 1

        host.wait(lambda: asked() and throttled())
        for n, (method, parameters, result, *_) in enumerate(REQUESTS):
            if parameters.get("id") == "asked":
                host.wait(asked)
                parameters = {"id": asked()[0]["id"]}
            error = call(host, method, **parameters)
            assert bool(error) == (result == "failed"), (method, parameters, error)
            host.wait(lambda: len(by_request(tmp_path / "audit.jsonl")) > n)
            if method == "Reload":
                (host.dir / "migpolicyd.json").write_text("{")
        for method, parameters in READING:
            call(host, method, **parameters)
        file = host.dir / "apply.json"
        file.write_text('{"vms": {}}')
        for args in DENIED:
            assert stranger(host, *args, *([file] if "-f" in args else [])) == 5, args
        assert host.stop() == 0
    found = by_request(tmp_path / "audit.jsonl")
    for (method, parameters, *expected, detail), e in zip(REQUESTS, found):
        assert [e["result"], e["vm"]] == expected, (method, parameters, e)
        assert e["detail"].startswith(detail), (method, parameters, e)
        assert "by" not in e or (e["action"], e["by"]) == (method.lower(), "uid 0")
    denied = found[len(REQUESTS):]
    assert [(e["action"], e["result"], e["by"]) for e in denied] == [
        ("changemetadata" if "--scope=metadata" in args else args[0], "denied", "uid 65534")
        for args in DENIED]
