# SPDX-License-Identifier: LGPL-2.1-or-later
"""The JSON Schema says what the parser says, as far as a schema can."""

import json
import pathlib
import re
import subprocess

import pytest
from simhost import MIGPOLICY

jsonschema = pytest.importorskip("jsonschema")

ROOT = pathlib.Path(__file__).resolve().parents[2]
ETC = ROOT / "etc"
DOCS = ROOT / "docs"
SCHEMA = json.loads((ETC / "migpolicyd.schema.json").read_text())

GOOD = [
    json.loads((ETC / "migpolicyd.json").read_text()),
    {},
    {"web_may_answer": []},
    {"web_config": "/etc/migpolicy/web.yml", "qemu_run_dir": "/run/x/qemu"},
    {"uri": "qemu:///system", "metrics_listen": "", "admin_group": "x", "poll_interval": "100ms",
     "trust_metadata": True, "policy": {}, "rules": []},
    {"rules": [{"label": "db", "policy": {"preset": "must-finish", "allow_throttle": False}}]},
    {"policy": {"max_downtime": "none", "patience": "1m30s", "deadline": "1.5h", "min_cpu": "20 %",
                "max_bandwidth": "1Gbit/s", "max_compression_cache": "64MiB",
                "precopy_iterations": "5", "precopy_threshold": "200KiB",
                "allow_suspend": "ask", "order": "suspend,cancel", "on_deadline": "force"}},
    {"namespaces": {"a": "urn:a"},
     "rules": [{"flavor": ["m1.*", "c1.*"], "project": "shop", "policy": {}},
               {"title": "x", "min_memory": "64GiB", "max_vcpus": 8, "policy": {}},
               {"instance_name": "db*", "ovirt": "custom/tier=gold", "xpath": ["a:b"],
                "trust_owner": True, "policy": {}}]},
    *map(json.loads, re.findall(r"```json\n(.*?)```", (DOCS / "presets.md").read_text(), re.S)),
    {"vms": {}},
    {"vms": {"a": {"policy": {}, "expires": "1h30m"}}},
    {"schema_version": 1, "vms": {"a": {"policy": {"mode": "observe"}, "name": "x"}}},
]
BAD = [
    [],
    {"unknown": 1},
    {"uri": 1},
    {"web_config": "web.yml"},
    {"web_may_answer": "operator"},
    {"web_may_answer": [""]},
    {"web_may_answer": ["x" * 65]},
    {"qemu_run_dir": "run"},
    {"poll_interval": "100"},
    {"poll_interval": 100},
    {"trust_metadata": "yes"},
    {"rules": {}},
    {"rules": [{"policy": {}}]},
    {"rules": [{"name": "a"}]},
    {"rules": [{"flavor": [], "policy": {}}]},
    {"rules": [{"flavor": [1], "policy": {}}]},
    {"rules": [{"min_memory": "64", "policy": {}}]},
    {"rules": [{"max_vcpus": 0, "policy": {}}]},
    {"namespaces": {"a": ""}},
    {"rules": [{"label": "a b", "policy": {}}]},
    {"rules": [{"name": "a", "policy": {}, "more": 1}]},
    {"policy": {"max-downtime": "1s"}},
    {"policy": {"max_downtime": 1}},
    {"policy": {"max_downtime": "1"}},
    {"policy": {"max_downtime": "1 MiB"}},
    {"policy": {"max_bandwidth": "1Gbit"}},
    {"policy": {"max_compression_cache": "1GiB/s"}},
    {"policy": {"min_cpu": "none"}},
    {"policy": {"precopy_iterations": "-1"}},
    {"policy": {"allow_throttle": "maybe"}},
    {"policy": {"mode": True}},
    {"policy": {"preset": "none"}},
    {"policy": {"order": "suspend, cancel"}},
    {"vms": []},
    {"vms": {"a": {}}},
    {"vms": {"a": {"policy": {"min_cpu": 5}}}},
    {"vms": {"a": {"policy": {}, "expires": 5}}},
    {"vms": {"a": {"policy": {}, "expires": "5"}}},
    {"vms": {"a": {"expires": "5s"}}},
    {"vms": {}, "rules": []},
    {"vms": {}, "schema_version": 2},
]


def parser_accepts(path, document):
    path.write_text(json.dumps(document))
    path.chmod(0o644)
    return subprocess.run([MIGPOLICY, "check", path], capture_output=True).returncode == 0


def schema_accepts(document):
    return jsonschema.Draft7Validator(SCHEMA).is_valid(document)


def test_the_schema_is_one():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("document", GOOD)
def test_what_is_right_is_accepted_by_both(tmp_path, document):
    assert parser_accepts(tmp_path / "f.json", document)
    assert schema_accepts(document)


@pytest.mark.parametrize("document", BAD, ids=json.dumps)
def test_what_is_wrong_is_refused_by_both(tmp_path, document):
    assert not parser_accepts(tmp_path / "f.json", document)
    assert not schema_accepts(document)
