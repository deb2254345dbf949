# SPDX-License-Identifier: LGPL-2.1-or-later
"""The role of etc/ansible, by Ansible itself, on two hosts that are simulated."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from simhost import MIGPOLICY, PATIENCE_S, Host, calm

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may set policies here"),
    pytest.mark.skipif(not shutil.which("ansible-playbook"), reason="tests/setup test installs it"),
]

ROLES = pathlib.Path(__file__).resolve().parents[2] / "etc/ansible"
PLAY = [{"hosts": "all", "gather_facts": False, "connection": "local", "roles": ["migpolicy"]}]


def play(tmp_path, hosts, *args, **variables):
    """Runs the role; returns {host: {"changed": n, "failed": n}} and what was printed."""
    (tmp_path / "play.yml").write_text(json.dumps(PLAY))
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": {
        name: {"migpolicy_directory": str(host.dir), "migpolicy_socket": str(host.dir / "run/io.migpolicy"),
               "ansible_python_interpreter": "/usr/bin/python3"}
        for name, host in hosts.items()}}}))
    (tmp_path / "vars.json").write_text(json.dumps({
        "migpolicy_command": str(MIGPOLICY), "migpolicy_service": "", **variables}))
    env = {**os.environ, "ANSIBLE_ROLES_PATH": str(ROLES), "ANSIBLE_NOCOLOR": "1", "HOME": str(tmp_path),
           "ANSIBLE_LOCAL_TEMP": str(tmp_path / "local"), "ANSIBLE_REMOTE_TEMP": str(tmp_path / "remote"),
           "LC_ALL": "C.UTF-8"}
    done = subprocess.run(["ansible-playbook", "-i", tmp_path / "hosts.json", "-e", f"@{tmp_path}/vars.json",
                           tmp_path / "play.yml", *args], capture_output=True, text=True, env=env, timeout=PATIENCE_S)
    told = {name: {key: int(re.search(rf"^{name} .*\b{key}=(\d+)", done.stdout, re.M)[1])
                   for key in ("changed", "failed")} for name in hosts}
    return told, done.stdout + done.stderr


def value(host, vm, name):
    fields = json.loads(host.command("show", vm, "--json"))["fields"]
    return next(f["value"] for f in fields if f["name"] == name)


def test_the_role_brings_hosts_to_one_policy_and_leaves_them_so(tmp_path):
    with contextlib.ExitStack() as stack:
        hosts = {name: stack.enter_context(Host([calm(vm, start="10h")], []))
                 for name, vm in (("one", "db"), ("two", "web"))}
        for host in hosts.values():
            (host.dir / "conf.d").mkdir()
        wanted = {
            "migpolicy_config": {"rules": [{"name": "*", "policy": {"max_downtime": "2s"}}]},
            "migpolicy_conf_d": {"10-web": {"rules": [{"name": "web*", "policy": {"min_cpu": "30%"}}]}},
            "migpolicy_vms": {"db": {"policy": {"max_downtime": "3s"}}},
        }

        told, said = play(tmp_path, hosts, "--check", **wanted)
        assert all(t["changed"] > 0 and t["failed"] == 0 for t in told.values()), said
        assert value(hosts["one"], "db", "max_downtime") == "none"

        told, said = play(tmp_path, hosts, **wanted)
        assert all(t["changed"] > 0 and t["failed"] == 0 for t in told.values()), said
        assert value(hosts["one"], "db", "max_downtime") == "3s"
        assert value(hosts["two"], "web", "max_downtime") == "2s"
        assert value(hosts["two"], "db", "max_downtime") == "3s", "it waits for it"
        assert (hosts["one"].dir / "conf.d/10-web.json").exists()

        told, said = play(tmp_path, hosts, **wanted)
        assert all(t == {"changed": 0, "failed": 0} for t in told.values()), said

        before = (hosts["one"].dir / "migpolicyd.json").read_text()
        wanted["migpolicy_config"] = {"rules": [{"name": "*", "policy": {"max_downtime": "long"}}]}
        told, said = play(tmp_path, hosts, **wanted)
        assert all(t["failed"] == 1 for t in told.values()), said
        assert "max_downtime" in said and (hosts["one"].dir / "migpolicyd.json").read_text() == before
