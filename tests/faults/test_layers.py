# SPDX-License-Identifier: LGPL-2.1-or-later
"""The layers of a policy, as the running daemon puts them together."""

import json
import time

import pytest
from simhost import Host, calm, domain

THROTTLE = [{"name": "*", "policy": {"allow_throttle": True, "min_cpu": "10%"}}]


def fields(host, vm):
    return {f["name"]: (f["value"], f["source"])
            for f in json.loads(host.command("show", "--json", vm))["fields"]}


def refused(host, status, *args):
    """The one line a refused command says."""
    done = host.tried(*args)
    assert done.returncode == status, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_preset_of_a_rule_is_named_and_the_rule_s_own_fields_are_over_it():
    rules = [{"name": "*", "policy": {"min_cpu": "40%", "preset": "balanced"}}]
    with Host([domain("vm", start="1h")], rules) as host:
        rule = f"{host.dir}/migpolicyd.json/rules/0, by name *"
        shown = fields(host, "vm")
        assert shown["min_cpu"] == ("40%", rule)
        assert shown["max_downtime"] == ("1s", f"preset balanced, {rule}")
        host.command("set", "vm", "--preset", "never-slow")
        assert fields(host, "vm")["allow_throttle"] == (
            "no", "preset never-slow, override set by uid 0")
        host.command("unset", "vm", "preset")
        assert fields(host, "vm") == shown


def test_an_override_that_expires_is_over_and_the_watcher_sees_it():
    """Real seconds, while the migration goes on."""
    with Host([domain("vm")], THROTTLE, time_factor=5) as host:
        host.command("set", "vm", "--mode", "observe", "--expires", "4s")
        value, source = fields(host, "vm")["mode"]
        assert value == "observe" and ", until 20" in source
        host.wait(lambda: host.events("cpu_share"))
        assert host.events("cpu_share")[0]["seconds"] > 3 * 5
        assert fields(host, "vm")["mode"] == ("enforce", "default")


def test_a_runtime_override_is_not_kept_and_one_that_expires_is(tmp_path):
    with Host([domain("vm", start="1h")], [], state_dir=tmp_path) as host:
        host.command("set", "vm", "--runtime", "--patience", "3s")
        host.command("set", "vm", "--expires", "1h", "--min-cpu", "30%")
        assert fields(host, "vm")["patience"] == ("3s", "runtime override set by uid 0")
    with Host([domain("vm", start="1h")], [], state_dir=tmp_path) as host:
        shown = fields(host, "vm")
        assert shown["patience"] == ("0s", "default")
        assert shown["min_cpu"][0] == "30%"


@pytest.mark.parametrize("value", ["2", "0s", "500ms", "366d", "soon", ""])
def test_a_malformed_expiry_is_refused_and_nothing_is_set(value):
    with Host([domain("vm", start="1h")], []) as host:
        before = fields(host, "vm")
        assert "1s and 365d" in refused(host, 2, "set", "vm", "--mode=enforce", f"--expires={value}")
        assert fields(host, "vm") == before


NOVA = """<domain><metadata>
<nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/1.1"><nova:name>{name}</nova:name>
<nova:flavor name="{flavor}"/><nova:owner><nova:project uuid="0f1e">shop</nova:project></nova:owner>
</nova:instance></metadata><memory unit="KiB">524288</memory><vcpu>1</vcpu></domain>"""


def test_a_rule_by_flavor_holds_and_the_metrics_tell_the_names():
    """The one of another flavor is not throttled meanwhile, whatever it calls itself."""
    vms = [domain("instance-1", description=NOVA.format(name="web", flavor="m1.large")),
           domain("instance-2", description=NOVA.format(name="m1.large", flavor="c1.small"))]
    policy = THROTTLE[0]["policy"]
    rules = [{"flavor": ["b1.*", "m1.*"], "project": "shop", "policy": policy},
             {"instance_name": "m1.large", "policy": policy}]
    with Host(vms, rules) as host:
        host.wait(lambda: "instance-1" in host.completed())
        assert host.events("cpu_share", "instance-1")
        assert not host.events("cpu_share", "instance-2")
        assert fields(host, "instance-1")["allow_throttle"] == (
            "yes", f"{host.dir}/migpolicyd.json/rules/0, by flavor m1.*, project shop")
        uuid = next(u for u, name in host.names.items() if name == "instance-1")
        assert (f'migpolicy_vm_info{{vm="instance-1",uuid="{uuid}",flavor="m1.large",project="shop",'
                'instance_name="web"} 1') in host.scrape()


def test_metadata_narrows_before_anything_is_done():
    """The one that is not narrowed is throttled meanwhile."""
    vms = [domain("vm", metadata="<policy allow_throttle='no' allow_cancel='yes'/>"),
           domain("other")]
    with Host(vms, THROTTLE) as host:
        host.wait(lambda: host.events("cpu_share", "other"))
        host.wait(lambda: "other" in host.completed())
        assert not host.events("cpu_share", "vm")
        shown = fields(host, "vm")
        assert shown["allow_throttle"] == ("no", "domain metadata")
        assert shown["allow_cancel"] == ("no", "default")


def test_trusted_metadata_may_allow_more():
    with Host([domain("vm", metadata="<policy allow_throttle='yes'/>")], [],
              config={"trust_metadata": True}) as host:
        host.wait(lambda: host.events("cpu_share", "vm"))


def test_a_label_in_the_metadata_chooses_the_rule():
    rules = [{"label": "db", "policy": {"patience": "7s"}}]
    with Host([domain("vm", start="1h", metadata="<policy label='web db'/>"),
               domain("other", start="1h")], rules) as host:
        host.wait(lambda: fields(host, "vm")["patience"][0] == "7s")
        assert fields(host, "other")["patience"][0] == "0s"
        assert "Labels: web db" in host.command("show", "vm")


def test_policies_are_counted_by_where_they_come_from():
    vms = [domain("narrowed", start="1h", metadata="<policy mode='observe'/>"),
           domain("malformed", start="1h", metadata="<policy x='y'/>"),
           domain("labelled", start="1h", metadata="<policy label='db'/>")]
    with Host(vms, THROTTLE) as host:
        def counted(**expected):
            lines = {f'migpolicy_policies{{source="{s}"}} {n}' for s, n in expected.items()}
            host.wait(lambda: lines <= set(host.scrape().splitlines()))

        counted(config=1, override=0, metadata=2)
        host.command("set", "narrowed", "--mode", "observe")
        host.command("set", "labelled", "--scope=metadata", "--mode=observe")
        counted(config=1, override=1, metadata=3)
        host.command("unset", "malformed", "--scope=metadata", "--all")
        host.command("unset", "labelled", "--scope=metadata", "mode")
        counted(config=1, override=1, metadata=1)


def test_malformed_metadata_is_reported_once_and_the_domain_only_observed():
    vms = [domain("vm", metadata="<policy min_cpu='x'/>"), domain("other")]
    with Host(vms, THROTTLE) as host:
        host.wait(lambda: "other" in host.completed())
        assert not host.events("cpu_share", "vm")
        assert fields(host, "vm")["mode"] == ("observe", "malformed domain metadata")
        assert "min_cpu: must be a share" in host.command("show", "vm")
        assert host.log().count("min_cpu: must be a share") == 1


def test_metadata_is_changed_and_taken_out_again_while_the_domain_is_idle():
    with Host([domain("vm", start="1h")], THROTTLE) as host:
        before = fields(host, "vm")
        host.command("set", "vm", "--scope", "metadata", "--min-cpu", "30%", "--label", "a  b")
        host.command("set", "vm", "--scope=metadata", "--allow-throttle=no", "--label=b")
        shown = fields(host, "vm")
        assert shown["min_cpu"] == ("30%", "domain metadata")
        assert shown["allow_throttle"] == ("no", "domain metadata")
        assert "Labels: b\n" in host.command("show", "vm")
        host.command("unset", "vm", "--scope=metadata", "min-cpu", "label")
        assert fields(host, "vm")["min_cpu"] == before["min_cpu"]
        assert "Labels" not in host.command("show", "vm")
        assert fields(host, "vm")["allow_throttle"][0] == "no"
        host.command("unset", "vm", "--scope=metadata", "--all")
        assert fields(host, "vm") == before


def test_metadata_is_not_changed_during_a_migration_and_the_reason_is_told():
    with Host([domain("vm")], []) as host:
        host.wait(lambda: host.status("vm"))
        said = refused(host, 6, "set", "vm", "--scope=metadata", "--mode=observe")
        assert "migration" in said
        assert fields(host, "vm")["mode"] == ("observe", "default")


def test_metadata_that_is_not_understood_is_removed_but_not_edited():
    with Host([domain("vm", start="1h", metadata="<policy x='y'/>")], []) as host:
        host.wait(lambda: "malformed" in fields(host, "vm")["mode"][1] or "x: unknown" in
                  host.command("show", "vm"))
        assert "x: unknown" in refused(host, 6, "set", "vm", "--scope=metadata", "--min-cpu=30%")
        host.command("unset", "vm", "--scope=metadata", "--all")
        assert "understood" not in host.command("show", "vm")


@pytest.mark.parametrize("flags", [("--label=a/b",), ("--min-cpu=2",), ("--runtime",), (),
                                   ("--expires=1h", "--min-cpu=20%")])
def test_malformed_metadata_is_never_written(flags):
    with Host([domain("vm", start="1h")], []) as host:
        before = host.command("show", "vm")
        refused(host, 2, "set", "vm", "--scope=metadata", *flags)
        assert host.command("show", "vm") == before


def write(path, vms):
    path.write_text(json.dumps({"vms": {vm: {"policy": p} for vm, p in vms.items()}}))
    return path


def test_apply_replaces_overrides_and_prints_what_changes_in_effect(tmp_path):
    with Host([domain("a", start="1h"), domain("b", start="1h")], []) as host:
        host.command("set", "a", "--patience", "3s")
        host.command("set", "b", "--patience", "4s")
        file = write(tmp_path / "f", {"a": {"min_cpu": "30%"},
                                      "51310000-0000-4000-8000-000000000002": {}})
        expected = "a: min_cpu: 20% -> 30%\na: patience: 3s -> 0s\nb: patience: 4s -> 0s\n"
        before = fields(host, "a"), fields(host, "b")
        assert host.command("apply", "--dry-run", "-f", file) == expected
        assert (fields(host, "a"), fields(host, "b")) == before
        assert host.command("apply", "-f", file) == expected
        assert fields(host, "a")["min_cpu"] == ("30%", "override set by uid 0")
        assert fields(host, "b")["patience"] == ("0s", "default")
        assert "Nothing" in host.command("apply", "-f", file)
        store = json.loads((host.state_dir / "overrides.json").read_text())
        assert [vm["name"] for vm in store["vms"].values()] == ["a"]


def test_one_file_serves_every_host_and_what_is_missing_is_told(tmp_path):
    with Host([domain("a", start="1h")], []) as host:
        file = write(tmp_path / "f", {"a": {"min_cpu": "30%"}, "elsewhere": {"min_cpu": "40%"}})
        refused(host, 4, "apply", "-f", file)
        assert fields(host, "a")["min_cpu"][0] == "20%"
        reply = json.loads(host.command("apply", "--ignore-missing", "--json", "-f", file))
        assert reply["missing"] == ["elsewhere"] and len(reply["changes"]) == 1
        assert "Nothing" in host.command("apply", "--ignore-missing", "-f", file)
        bad = write(tmp_path / "bad", {"elsewhere": {}, "a": {"min_cpu": "2"}})
        refused(host, 1, "apply", "--ignore-missing", "-f", bad)
        assert fields(host, "a")["min_cpu"][0] == "30%"


def test_what_is_applied_may_end_by_itself_and_leaves_what_does_not(tmp_path):
    with Host([domain("a", start="1h")], [], state_dir=tmp_path) as host:
        host.command("set", "a", "--patience", "3s")
        file = tmp_path / "f"
        file.write_text(json.dumps({"vms": {"a": {"policy": {"patience": "1m", "min_cpu": "30%"},
                                                  "expires": "8s"}}}))
        for _ in "twice":  # the second time is another end
            told = host.command("apply", "-f", file)
            assert [line.split(", until 20")[0] for line in told.splitlines()] in (
                ["a: min_cpu: 20% -> 30%", "a: patience: 3s -> 1m"],
                ["a: min_cpu: 30% -> 30%", "a: patience: 1m -> 1m"])
            assert told.count(", until 20") == 2
            time.sleep(1)
        source = fields(host, "a")["min_cpu"][1]  # on a machine that stood still it has ended
        assert source.startswith("override set by uid 0, until 20") or source == "default"
        host.wait(lambda: fields(host, "a")["min_cpu"] == ("20%", "default"))
        assert fields(host, "a")["patience"] == ("3s", "override set by uid 0")
        line = json.loads((tmp_path / "audit.jsonl").read_text().splitlines()[-1])
        assert line["detail"] == "min_cpu=30% patience=1m for 8s"


@pytest.mark.parametrize(("vms", "status", "word"), [
    ({"a": {"min_cpu": "30%"}, "b": {"min_cpu": "x"}}, 1, ":1: /vms/b/policy/min_cpu: must be"),
    ({"a": {"min_cpu": "30%"}, "nosuch": {}}, 4, "nosuch"),
    ({"a": {"min_cpu": "30%"}, "id:1": {}}, 2, "once"),
    ({"a": []}, 1, "/vms/a/policy: a policy must be an object"),
])
def test_apply_is_all_or_nothing(tmp_path, vms, status, word):
    with Host([domain("a", start="1h"), domain("b", start="1h")], []) as host:
        before = fields(host, "a"), fields(host, "b")
        file = write(tmp_path / "f", vms)
        assert word in refused(host, status, "apply", "-f", file)
        if status == 1:
            assert refused(host, 1, "check", file) == refused(host, 1, "apply", "-f", file)
        assert (fields(host, "a"), fields(host, "b")) == before


def test_reload_tells_what_is_wrong_and_keeps_what_is_in_force():
    with Host([domain("vm", start="1h")], THROTTLE) as host:
        config = host.dir / "migpolicyd.json"
        before = fields(host, "vm")
        config.write_text('{\n "policy": {"min_cpu": 5},\n "trust_metadata": true}')
        said = refused(host, 1, "reload")
        assert f"{config}:2: /policy/min_cpu: must be" in said
        assert fields(host, "vm") == before
        config.write_text('{"policy": {"min_cpu": "5%"}}')
        host.command("reload")
        assert fields(host, "vm")["min_cpu"] == ("5%", str(config))


def test_what_is_stored_and_cannot_be_read_is_observed_told_and_dealt_with(tmp_path):
    uuid = "51310000-0000-4000-8000-000000000001"
    (tmp_path / "overrides.json").write_text(json.dumps({
        "schema_version": 1, "vms": {uuid: {"name": "vm", "policy": {"mode": "observe", "later": 1}}}}))
    rules = [{"name": "*", "policy": {"allow_throttle": True, "max_downtime": "500ms"}}]
    with Host([calm("vm", start="1h")], rules, state_dir=tmp_path) as host:
        assert "stored policy, unreadable" in host.command("show", "vm")
        host.wait(lambda: "migpolicy_state_unreadable 1\n" in host.scrape())
        host.command("unset", "vm", "--all")
        assert "enforce" in host.command("show", "vm")
        host.wait(lambda: "migpolicy_state_unreadable 0\n" in host.scrape())
        assert host.stop() == 0


def test_a_store_that_cannot_be_read_pauses_the_host_until_it_is_resumed(tmp_path):
    (tmp_path / "overrides.json").write_text('{"schema_version": 1, "vms": {"5131')
    for _ in range(2):
        with Host([calm("vm", start="1h")], [], state_dir=tmp_path) as host:
            assert "overrides.json could not be read" in host.command("show", "vm")
            host.wait(lambda: "migpolicy_state_unreadable 1\n" in host.scrape())
            assert host.stop() == 0
    with Host([calm("vm", start="1h")], [], state_dir=tmp_path) as host:
        host.command("resume")
        host.wait(lambda: "migpolicy_state_unreadable 0\n" in host.scrape())
        assert host.stop() == 0
