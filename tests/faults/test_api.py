# SPDX-License-Identifier: LGPL-2.1-or-later
"""The JSON under /api/v1/: the same as the command line tells, from memory, and read-only."""

import json
import urllib.error
import urllib.request

import pytest
from simhost import PATIENCE_S, Host, calm, domain
from test_leftovers import RULES, cancel_when_throttled, failing

ALLOWED = [{"name": "busy", "policy": {"allow_throttle": "yes", "min_cpu": "10%"}}]


def answer(host, path, method="GET"):
    request = urllib.request.Request(f"http://127.0.0.1:{host.port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read()


def get(host, path):
    status, headers, body = answer(host, "/api/v1/" + path)
    assert (status, headers["Content-Type"]) == (200, "application/json"), body
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    document = json.loads(body)
    assert document["schema_version"] == 1 and document["time"].endswith("Z")
    return document


def one(host, name):
    return next((m for m in get(host, "status")["migrations"] if m["vm"] == name), None)


def test_it_tells_what_the_command_line_tells():
    with Host([domain("busy"), domain("stuck"), calm("calm")], ALLOWED) as host:
        host.wait(lambda: host.completed() >= {"busy", "calm"})
        host.wait(lambda: not host.status("busy") and not host.status("calm"))
        told = {m["vm"]: m for m in host.status("--all")}
        shown = {m["vm"]: m for m in get(host, "status")["migrations"]}
        assert set(shown) == set(told) == {"busy", "stuck", "calm"}
        for vm in ("busy", "calm"):  # which change no more
            assert {k: v for k, v in shown[vm].items() if k in told[vm] and k != "ended_seconds_ago"} == \
                {k: v for k, v in told[vm].items() if k != "ended_seconds_ago"}
        uuid = told["busy"]["uuid"]
        all = get(host, f"migrations/{uuid}")
        explained = json.loads(host.command("explain", "busy", "--json"))
        assert all["events"] == explained["events"] and all["evidence"] == explained["evidence"]
        assert all["alternatives"] == explained["alternatives"]
        source = {f["name"]: f["source"] for f in all["policy"]}
        assert source["min_cpu"].endswith("by name busy") and source["deadline"] == "default"
        history = get(host, "history")["migrations"]
        recorded = [json.loads(line) for line in host.command("history", "-o", "jsonl").splitlines()]
        assert [m["vm"] for m in history] == [m["vm"] for m in recorded]
        for one_shown, one_told in zip(history, recorded):
            for key in ("uuid", "result", "mode", "started", "elapsed_seconds", "downtime_seconds", "iteration"):
                assert one_shown[key] == one_told[key], key
            assert one_shown["actions_applied"] == sum(e["result"] == "applied" for e in one_told["events"])
            assert one_shown["remaining_bytes"][0] > one_shown["remaining_bytes"][-1] == 0


def test_a_course_is_there_on_load_and_grows():
    with Host([domain("busy")], []) as host:
        host.wait(lambda: (m := one(host, "busy")) and m["iteration"] >= 5)
        path = f"migrations/{one(host, 'busy')['uuid']}"
        course = get(host, path)["course"]
        assert len({len(column) for column in course.values()}) == 1
        times, remaining = course["elapsed_seconds"], course["remaining_bytes"]
        assert times == sorted(times) and times[0] < 3
        tops = sum(b > a for a, b in zip(remaining, remaining[1:]))
        assert tops >= 3, "it was to be a sawtooth"
        assert course["switchover_bytes"][-1] == pytest.approx(0.3 * course["transfer_rate_bytes_per_second"][-1], rel=0.01)
        host.wait(lambda: get(host, path)["course"]["elapsed_seconds"][-1] > times[-1] + 5)
        later = get(host, f"{path}?since={times[-1]}")["course"]["elapsed_seconds"]
        assert later and later[0] > times[-1]
        for nonsense in ("x", "nan", "-1e999", ""):
            assert get(host, f"{path}?since={nonsense}")["course"]["elapsed_seconds"][0] < times[-1]


def test_what_the_host_is_like_is_told():
    with Host([domain("vm")], [{"name": "*", "policy": {"allow_throttle": "ask"}}]) as host:
        host.wait(lambda: get(host, "status")["host"]["pending_questions"] == 1)
        state = get(host, "status")["host"]
        assert state["libvirt_connected"] and state["paused_by"] is None and state["outstanding_journals"] == 0
        assert 0 <= state["age_seconds"] < 60 and state["uri"].startswith("sim:")
        assert one(host, "vm")["proposal"]["id"] == json.loads(host.command("pending", "--json"))["proposals"][0]["id"]
        host.command("pause")
        host.wait(lambda: (get(host, "status")["host"]["paused_by"] or "").startswith("uid "))
        host.command("resume")
        host.command("pause", "vm")
        host.wait(lambda: get(host, "status")["host"]["paused_vms"] == 1)
        host.wait(lambda: (one(host, "vm")["paused"] or "").startswith("paused by uid"))
        assert 'migpolicy_migration_paused{vm="vm",' in host.scrape()


def test_a_guest_that_may_still_be_slowed_is_told_as_status_tells_it():
    with Host([failing()], RULES) as host:
        host.wait(lambda: one(host, "vm"))
        assert get(host, "status")["leftovers"] == []
        cancel_when_throttled(host)
        host.wait(lambda: get(host, "status")["leftovers"])
        shown, told = get(host, "status")["leftovers"][0], json.loads(host.command("status", "--json"))["leftovers"][0]
        assert set(shown) == set(told)
        for key in ("vm", "uuid", "why"):
            assert shown[key] == told[key], key
        assert shown["failures"] >= 1 and shown["age_seconds"] >= 0


def test_what_ended_before_a_restart_is_listed(tmp_path):
    with Host([calm("first")], [], state_dir=tmp_path) as host:
        host.wait(lambda: get(host, "history")["migrations"])
        assert host.stop() == 0
    with Host([calm("second")], [], state_dir=tmp_path) as host:
        host.wait(lambda: len(get(host, "history")["migrations"]) == 2)
        second, first = get(host, "history")["migrations"]
        assert (second["vm"], first["vm"], first["result"], first["remaining_bytes"]) == ("second", "first", "completed", [])
        assert second["remaining_bytes"]


def test_it_is_read_only_and_other_paths_are_refused():
    with Host([domain("vm")], []) as host:
        host.wait(lambda: one(host, "vm"))
        for path in ("/", "/api/v1/status", f"/api/v1/migrations/{one(host, 'vm')['uuid']}"):
            assert answer(host, path)[0] == 200
            assert answer(host, path, "HEAD")[0] == 200
            for method in ("POST", "PUT", "DELETE", "PATCH"):
                assert answer(host, path, method)[0] == 405
        assert answer(host, "/api/v1/answer", "POST")[0] == 405
        assert get(host, "you")["may_answer"] is False and get(host, "you")["name"] is None
        for path in ("", "x", "status/", "migrations/", "migrations/vm", "migrations/../status", "migrations/" + "x" * 4000, "answer"):
            status, headers, body = answer(host, "/api/v1/" + path)
            assert status == 404 and json.loads(body)["error"]
        assert answer(host, "/api")[0] == 404 and answer(host, "/page.js")[0] == 404


def test_the_page_runs_and_loads_nothing_but_itself():
    with Host([], []) as host:
        status, headers, body = answer(host, "/")
        policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
        assert status == 200 and policy["default-src"] == "'none'" and policy["connect-src"] == "'self'"
        assert policy["script-src"].startswith("'sha256-") and policy["style-src"].startswith("'sha256-")
        assert "unsafe" not in headers["Content-Security-Policy"]
        text = body.decode()
        assert text.count("<script") == text.count("<style") == 1 and "</html>" in text
        for outside in ("src=", "@import", "url(http", "//cdn", "style=\"", "onclick="):
            assert outside not in text.replace("style=\"\"", "")


def test_hostile_names_are_text_in_valid_json():
    names = ["\"},{<script>", "evil\u202e\u009b31m", "back\\slash\ttab"]
    with Host([calm(name) for name in names], []) as host:
        host.wait(lambda: len(get(host, "history")["migrations"]) == len(names))
        assert {m["vm"] for m in get(host, "status")["migrations"]} == set(names)
        assert {m["vm"] for m in get(host, "history")["migrations"]} == set(names)
        raw = answer(host, "/api/v1/status")[2].decode()
        assert not set("\u202e\u009b\t") & set(raw)
