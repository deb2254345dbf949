# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lasting record: who decided what, and how migrations ended."""

import json
import os
import subprocess

import pytest
from simhost import MIGPOLICY, Host, calm, domain

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
                          capture_output=True, timeout=20, **user).returncode


def test_actions_are_on_record_with_evidence_and_who_approved(tmp_path):
    with Host([domain("vm")], RULES, state_dir=tmp_path) as host:
        host.wait(host.completed, 20)
        host.wait(lambda: (tmp_path / "history.jsonl").exists(), 5)
        throttle = [e for e in audit(host) if e["action"] == "throttle"][0]
        assert (throttle["vm"], throttle["result"]) == ("vm", "applied")
        assert "rule" in throttle["approved_by"] or "migpolicyd.json" in throttle["approved_by"]
        assert throttle["verdict"] in ("needs-help", "helped")
        assert throttle["iteration"] > 1 and throttle["memory_remaining_bytes"] > 0
        assert throttle["dirty_rate_bytes_per_second"] > 0
        assert audit(host)[-1]["action"] == "release"
        times = [e["time"] for e in audit(host)]
        assert times == sorted(times)
        assert json.loads(host.command("explain", "vm", "--json"))["events"] == \
            [{k: v for k, v in e.items() if k not in ("vm", "uuid", "schema_version")}
             for e in audit(host)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may set policies here")
def test_set_unset_and_refusals_are_on_record(tmp_path):
    with Host([calm("vm", start="1h")], [], state_dir=tmp_path) as host:
        host.wait(lambda: stranger(host, "show", "vm") == 0, 10)
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
        host.wait(lambda: len(host.completed()) == 2, 20)
        host.wait(lambda: host.metric("migpolicy_record_failures_total") >= 4, 5)
        assert host.log().count("cannot be recorded") == 1
        assert host.stop() == 0
