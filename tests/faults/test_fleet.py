# SPDX-License-Identifier: LGPL-2.1-or-later
"""One policy file for many hosts: VMs that are elsewhere, that are expected, and that have gone."""

import json
import os
import re

import pytest
from simhost import Host, calm

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may set policies here")

ELSEWHERE = "12345678-1234-4000-8000-00000000abcd"
FIRST = "51310000-0000-4000-8000-000000000001"


def field(host, vm, name="max_downtime"):
    fields = json.loads(host.command("show", vm, "--json"))["fields"]
    return next((f["value"], f["source"]) for f in fields if f["name"] == name)


def overrides(host):
    return json.loads(host.command("overrides", "--json"))["overrides"]


def stored(state):
    """What is stored, but for since when a VM is known not to be here, which is seen in between."""
    return re.sub(r',\s*"gone_since":\d+', "", (state / "overrides.json").read_text())


def idle(*names):
    return [calm(name, start="10h") for name in names]


def test_a_policy_for_a_name_that_is_expected_holds_when_such_a_vm_comes(tmp_path):
    with Host(idle("other"), [], state_dir=tmp_path) as host:
        assert host.tried("set", "soon", "--max-downtime", "2s").returncode == 4
        host.command("set", "soon", "--expected", "--max-downtime", "2s")
        host.command("set", f"uuid:{FIRST.upper()}", "--expected", "--max-downtime", "1s")
        assert field(host, "soon") == ("2s", "override set by uid 0")
        assert field(host, "other") == ("1s", "override set by uid 0")
        assert [(o["vm"], o["uuid"], o["here"]) for o in overrides(host)] == \
            [("soon", None, False), ("other", FIRST, True)]
        assert host.command("overrides").count("expected") == 1
    with Host(idle("soon"), [], state_dir=tmp_path) as host:
        # What is for the VM itself is laid over what is for its name.
        assert field(host, "soon")[0] == "1s"
        host.command("unset", "soon", "--all")
        assert field(host, "soon")[0] == "none" and overrides(host) == []


def test_the_same_file_on_every_host_and_again_when_a_vm_has_come(tmp_path):
    vms = {"a": {"policy": {"max_downtime": "2s"}}, "b": {"policy": {"max_downtime": "3s"}},
           ELSEWHERE: {"policy": {"min_cpu": "30%"}}}
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps({"vms": vms}))
    path.chmod(0o644)
    apply = ["apply", "--expected", "-f", str(path)]
    states = [tmp_path / name for name in ("one", "two")]
    for state, here in zip(states, ("a", "b")):
        state.mkdir()
        with Host(idle(here), [], state_dir=state) as host:
            changes = json.loads(host.command(*apply, "--json"))
            assert {c["vm"] for c in changes["changes"]} == {"a", "b", ELSEWHERE}
            first = stored(state)
            assert json.loads(host.command(*apply, "--json"))["changes"] == []
            assert stored(state) == first
            assert host.command(*apply, "--dry-run") == "Nothing would change in effect.\n"
    # "b" comes to the first host, which knows it by its name.
    with Host(idle("a", "b"), [], state_dir=states[0]) as host:
        assert [o["vm"] for o in overrides(host) if o["uuid"] is None] == ["b"]
        assert field(host, "b")[0] == "3s"
        assert json.loads(host.command(*apply, "--json"))["changes"] == []
        assert not [o["vm"] for o in overrides(host) if o["uuid"] is None]
        assert field(host, "b")[0] == "3s"


def test_prune_forgets_what_is_not_here_and_nothing_else(tmp_path):
    with Host(idle("here"), [], state_dir=tmp_path) as host:
        host.command("set", "here", "--max-downtime", "2s")
        host.command("set", "nowhere", "--expected", "--max-downtime", "2s")
        host.command("set", ELSEWHERE, "--expected", "--max-downtime", "2s")
        host.command("set", ELSEWHERE, "--expected", "--min-cpu", "20%", "--expires", "1h")
        assert sorted(host.command("overrides", "--prune").splitlines()) == \
            [f"{ELSEWHERE}: forgotten, {ELSEWHERE}", "nowhere: forgotten"]
        assert [o["vm"] for o in overrides(host)] == ["here"]
        assert host.command("overrides", "--prune") == "nothing to forget\n"
        assert field(host, "here")[0] == "2s"


def test_what_cannot_be_expected_is_refused():
    with Host(idle("vm"), []) as host:
        for vm in ("id:7", "uuid:x", ""):
            refused = host.tried("set", vm, "--expected", "--max-downtime", "2s")
            assert (refused.returncode, refused.stderr.count("\n")) == (4, 1), vm
        assert host.tried("set", "vm", "--expected", "--scope=metadata", "--min-cpu=9%").returncode == 2
        assert host.tried("apply", "--expected", "--ignore-missing", "-f", "x").returncode == 2
        assert overrides(host) == []


def test_set_dry_run_shows_and_changes_nothing():
    with Host(idle("vm"), []) as host:
        shown = host.command("set", "vm", "--dry-run", "--max-downtime", "2s", "--allow-throttle")
        assert shown == "max_downtime: none -> 2s\nallow_throttle: no -> yes\n" or \
            {"max_downtime: none -> 2s", "allow_throttle: no -> yes"} <= set(shown.splitlines())
        assert field(host, "vm")[0] == "none" and overrides(host) == []
        fields = json.loads(host.command("set", "vm", "--dry-run", "--json", "--min-cpu=30%"))["fields"]
        assert next(f["value"] for f in fields if f["name"] == "min_cpu") == "30%"


def test_a_policy_that_allows_nothing_is_warned_of():
    with Host(idle("vm"), []) as host:
        quiet = host.tried("set", "vm", "--max-downtime", "450ms")
        assert (quiet.returncode, quiet.stderr) == (0, "")
        low = host.tried("set", "vm", "--max-downtime", "400ms")
        assert (low.returncode, low.stderr.count("\n")) == (0, 1) and "0.45s" in low.stderr
        with_throttle = host.tried("set", "vm", "--allow-throttle")
        assert with_throttle.stderr == ""
        nothing = host.tried("set", "vm", "--allow-throttle=no", "--max-downtime=none")
        assert "allows nothing" in nothing.stderr
        assert host.tried("set", "vm", "--max-downtime=none", "-q").stderr == ""
        assert host.tried("set", "vm", "--mode=observe").stderr == ""


def test_show_changed_leaves_out_defaults():
    with Host(idle("vm"), [{"name": "*", "policy": {"max_downtime": "2s"}}]) as host:
        lines = host.command("show", "vm", "--changed", "--no-legend").splitlines()
        assert lines and all(" default" not in line for line in lines)
        assert any(line.startswith("max_downtime") for line in lines)
        assert len(host.command("show", "vm", "--no-legend").splitlines()) > len(lines)
    with Host(idle("vm"), []) as host:
        assert host.command("show", "vm", "--changed") == "all fields have their default\n"
