# SPDX-License-Identifier: LGPL-2.1-or-later
"""What migpolicyd records, migpolicy replays."""

import json
import pathlib
import subprocess
import tempfile

import pytest
from simhost import MIGPOLICY, PATIENCE_S, Host, calm, domain

RULES = [{"name": "*", "policy": {"allow_throttle": True, "max_downtime": "500ms"}}]


def replay(*args):
    run = subprocess.run([MIGPOLICY, "replay", *args], capture_output=True, text=True, timeout=PATIENCE_S)
    return run.returncode, run.stdout, run.stderr


@pytest.fixture(scope="module")
def traces():
    with tempfile.TemporaryDirectory() as name:
        state = pathlib.Path(name)
        with Host([domain("vm"), calm("calm")], RULES, state_dir=state, time_factor=4) as host:
            host.wait(lambda: host.log().count("migration completed") == 2)
            assert host.stop() == 0
        found = sorted((state / "traces").iterdir())
        assert oct((state / "traces").stat().st_mode & 0o777) == "0o700"
        yield {json.loads(f.read_text().splitlines()[0])["vm"]: f for f in found}


def test_a_replay_decides_just_what_was_decided(traces):
    for trace in traces.values():
        code, out, err = replay(trace, "--json")
        report = json.loads(out)
        assert (code, err) == (0, "")
        assert report["samples"] > 10
        assert report["differing"] == 0
        assert report["diverged_seconds"] is None
        assert report["outcome"] == "completed"
        last = report["steps"][-1]
        assert last["forecast_remaining_seconds"] < 5
        assert last["earliest_seconds"] <= last["forecast_remaining_seconds"]


def test_the_last_migration_of_a_vm_is_found_by_its_name(tmp_path):
    vms = [domain("vm", others=[{"at": "3s", "do": "cancel"}], retry_after="2s", retries=1), domain("busy", start="1h")]
    with Host(vms, RULES, state_dir=tmp_path) as host:
        host.wait(lambda: json.loads(host.command("history", "--json"))["migrations"][1:])
        last, first = json.loads(host.command("history", "vm", "--json"))["migrations"]
        host.wait(lambda: (done := host.tried("replay", "vm", "--json")).returncode == 0 and json.loads(done.stdout)["outcome"])
        report = json.loads(host.command("replay", "vm", "--json"))
        assert (report["vm"], report["differing"]) == ("vm", 0)
        assert report["trace"] == str(tmp_path / "traces" / last["trace"]) != str(tmp_path / "traces" / first["trace"])
        assert json.loads(host.command("replay", f"uuid:{last['uuid']}", "--json")) == report
        nobody = host.tried("replay", "busy")
        assert (nobody.returncode, nobody.stderr.count("\n")) == (4, 1)
        assert "no migration of such a VM" in nobody.stderr
        assert host.tried("replay", "./vm").returncode == 4


def test_a_replay_tells_what_is_said_about_the_end(traces):
    steps = json.loads(replay(traces["vm"], "--json")[1])["steps"]
    for step in steps:
        if step["decision"]["verdict"] in ("starting", "plateau"):
            assert step["forecast_ends"] is None
        elif step["decision"]["actions"]:
            assert step["forecast_ends"] is not True
    assert {s["forecast_ends"] for s in steps} == {None, False, True}


def test_another_policy_is_followed_until_its_first_difference(traces, tmp_path):
    policy = tmp_path / "policy.json"
    policy.write_text('{"max_downtime": "3s"}')
    code, out, _ = replay(traces["vm"], "--policy", policy)
    assert code == 0
    assert "would have been done (under the other policy)" in out
    assert "no evidence" in out
    steps = json.loads(replay(traces["vm"], "--policy", policy, "--json")[1])["steps"]
    assert [s["differs"] for s in steps].index(True) == len(steps) - 1

    code, out, _ = replay(traces["calm"], "--policy", policy)
    assert code == 0
    assert "the same would have been done" in out


def test_a_damaged_trace_is_one_line_with_file_and_line(traces, tmp_path):
    good = traces["vm"].read_text().splitlines(keepends=True)
    for bad, line in ((["{}\n"] + good, 1), (good[:3] + ["junk\n"], 4), ([good[0]] * 2, 2),
                      (good + good[1:2], len(good) + 1), ([], 1)):
        path = tmp_path / "bad.jsonl"
        path.write_text("".join(bad))
        code, _, err = replay(path)
        assert code == 1
        assert err.startswith(f"migpolicy: {path}:{line}: ")
        assert err.count("\n") == 1
    assert replay(tmp_path / "none")[0] == 4
    assert replay()[0] == 2
    (tmp_path / "policy").write_text('{\n"max_downtime": 3}')
    code, _, err = replay(traces["vm"], "--policy", tmp_path / "policy")
    assert code == 1 and f"{tmp_path}/policy:2: " in err


def test_an_unwritable_directory_ends_the_recording_and_nothing_else(tmp_path):
    (tmp_path / "traces").write_text("in the way")
    with Host([domain("vm"), calm("calm")], RULES, state_dir=tmp_path) as host:
        host.wait(lambda: len(host.completed()) == 2)
        assert host.log().count("not recorded") == 1
        assert host.stop() == 0
