# SPDX-License-Identifier: LGPL-2.1-or-later
"""Answering over HTTP what is asked: who may, and what is taken for an answer."""

import grp
import json
import os
import subprocess

import pytest
from simhost import PATIENCE_S, Host, domain
from test_access import OTHER, SECRET, make_certificate, write
from test_approval import asked, audit, pending, rules

NOBODY = {"user": 65534, "group": 65534, "extra_groups": []}
JSON = ("-H", "Content-Type: application/json")


def curl(*args, **user):
    """Status and what is answered, an object if it is JSON."""
    done = subprocess.run(["curl", "-sS", "-m", str(PATIENCE_S), "-w", "\n%{http_code}", *args],
                          capture_output=True, text=True, **user)
    body, _, status = done.stdout.rpartition("\n")
    return int(status or 0), json.loads(body) if body.startswith("{") else body


class Local(Host):
    """Serves at a Unix socket, which all may open: so that who may answer is the agent's say."""

    def __init__(self, domains, *args, **more):
        super().__init__(domains, *args, **more)
        self.path = self.dir / "http"
        self.listen = f"unix:{self.path}"

    def __enter__(self):
        super().__enter__()
        self.dir.chmod(0o711)
        self.path.chmod(0o666)
        return self

    def ask(self, what, *options, **user):
        return curl("--unix-socket", self.path, *options, f"http://localhost/api/v1/{what}", **user)

    def answer(self, body, *options, **user):
        return self.ask("answer", *JSON, *options, "-d", body if isinstance(body, str) else json.dumps(body), **user)


def test_an_answer_at_the_unix_socket_is_carried_out_in_the_name_of_who_is_connected():
    who = f"uid {os.geteuid()}"
    with Local([domain("vm"), domain("other", start="2s")], rules()) as host:
        host.wait(lambda: len(pending(host)) == 2)
        ids = {p["vm"]: p["id"] for p in pending(host)}
        assert host.ask("you")[1].items() >= {"name": who, "may_answer": True}.items()
        status, told = host.answer({"id": ids["other"], "answer": "deny"})
        assert status == 200 and told["proposal"]["vm"] == "other"
        status, told = host.answer({"id": ids["vm"], "answer": "approve"})
        assert status == 200 and told["proposal"]["id"] == ids["vm"]
        assert host.ask("status")[1]["host"]["pending_questions"] == 0
        host.wait(host.completed)
        assert host.completed() == {"vm"} and not host.events("cpu_share", "other")
        assert audit(host, result="approved")["approved_by"] == who
        assert audit(host, result="applied")["approved_by"] == f"{who}, when asked"
        assert f"denied by {who}" in audit(host, result="denied")["detail"]


def test_an_answer_to_another_question_and_a_yes_below_its_cost_answer_nothing():
    with Local([domain("vm")], rules()) as host:
        p = asked(host)
        status, told = host.answer({"id": p["id"] + 1, "answer": "approve"})
        assert status == 404 and "is not asked any more" in told["error"]
        assert "is not asked any more" in audit(host, action="approve", result="failed")["detail"]
        status, told = host.answer({"id": p["id"], "answer": "approve", "max_work_lost": "1ms"})
        assert status == 409 and "it would lose more than that" in told["error"]
        assert audit(host, action="approve", vm="vm")["by"] == f"uid {os.geteuid()}"
        assert asked(host)["id"] == p["id"] and not host.events("cpu_share")
        assert host.answer({"id": p["id"], "answer": "approve", "max_work_lost": "1h"})[0] == 200
        shown = json.loads(host.command("show", "vm", "--json"))["fields"]
        assert next(f["value"] for f in shown if f["name"] == "max_work_lost") == "1h"


@pytest.mark.parametrize("body", [
    "", "[]", "{", '{"id": 1}', '{"answer": "deny"}', '{"id": "1", "answer": "deny"}', '{"id": 0, "answer": "deny"}',
    '{"id": 4294967296, "answer": "deny"}', '{"id": 1, "answer": "yes"}', '{"id": 1, "answer": "deny", "vm": "x"}',
    '{"id": 1, "id": 2, "answer": "deny"}', '{"id": 1, "answer": "approve", "max_work_lost": "much"}',
    '{"id": 1, "answer": "deny", "max_work_lost": "1s"}', '{"id": 1, "answer": "approve", "max_work_lost": 5}'])
def test_what_is_no_answer_is_refused(body, local):
    status, told = local.answer(body)
    assert status == 400 and told["error"]


@pytest.fixture(scope="module")
def local():
    with Local([domain("vm", start="1h")], []) as host:
        yield host


@pytest.mark.skipif(os.geteuid() != 0, reason="needs other users")
def test_others_than_administrators_may_look_and_not_answer_over_http():
    group = grp.getgrnam("daemon")
    member = {**NOBODY, "extra_groups": [group.gr_gid]}
    with Local([domain("vm")], rules(), config={"admin_group": group.gr_name}) as host:
        p = asked(host)
        assert host.ask("you", **NOBODY)[1].items() >= {"name": "uid 65534", "may_answer": False}.items()
        for answer in "approve", "deny":
            assert host.answer({"id": p["id"], "answer": answer}, **NOBODY)[0] == 403
        denied = audit(host, action="approve", result="denied")
        assert denied["by"] == "uid 65534" and denied["pid"] > 0
        assert asked(host)["id"] == p["id"]
        assert host.ask("you", **member)[1]["may_answer"] is True
        assert host.answer({"id": p["id"], "answer": "approve"}, **member)[0] == 200
        assert audit(host, result="approved")["approved_by"] == "uid 65534"


def test_what_a_browser_sends_for_another_page_answers_nothing():
    own, other = ("-H", "Origin: http://localhost"), ("-H", "Origin: http://evil.example")
    with Local([domain("vm")], rules()) as host:
        p = asked(host)
        body = {"id": p["id"], "answer": "approve"}
        for headers in (other, ("-H", "Origin: null"), (*own, "-H", "Sec-Fetch-Site: cross-site"),
                        (*other, "-H", "Host: evil.example")):
            status, told = host.answer(body, *headers)
            assert status == 403 and "another page" in told["error"], headers
        assert "another page" in audit(host, action="approve", result="denied")["detail"]
        assert host.ask("answer", *own, "-H", "Content-Type: text/plain", "-d", json.dumps(body))[0] == 415
        assert host.ask("answer", *own, "-F", f"x={json.dumps(body)}")[0] == 415
        assert host.ask("answer", "-X", "OPTIONS", *other, "-H", "Access-Control-Request-Method: POST")[0] == 405
        assert asked(host)["id"] == p["id"] and not host.events("cpu_share")
        assert host.answer(body, *own, "-H", "Sec-Fetch-Site: same-origin")[0] == 200


def test_only_so_many_answers_are_taken_in_a_minute():
    with Local([domain("vm", start="1h")], [], time_factor=1) as host:
        done = subprocess.run(["curl", "-sS", "-m", str(PATIENCE_S), "--unix-socket", host.path, *JSON, "-o", "/dev/null",
                               "-w", "%{http_code} ", "-d", '{"id": 1, "answer": "deny"}',
                               "http://localhost/api/v1/answer?[1-35]"], capture_output=True, text=True)
        assert done.stdout.split() == ["404"] * 30 + ["429"] * 5


def test_over_tls_those_named_answer_by_their_password_and_nobody_else(tmp_path):
    def ask(what, user, *options):
        return curl("--cacert", tmp_path / "own.crt", "-u", user, *options, f"https://127.0.0.1:{host.port}/api/v1/{what}")

    def answer(user, answer, *options):
        return ask("answer", user, *JSON, "-d", json.dumps({"id": p["id"], "answer": answer}), *options)

    def may(**config):
        (host.dir / "migpolicyd.json").write_text(json.dumps({"web_config": f"{tmp_path}/web.yml", "rules": rules(), **config}))
        return host.tried("reload")

    make_certificate(tmp_path, "own")
    write(tmp_path, "own", {"operator": SECRET, "reader": OTHER})
    with Host([domain("vm")], rules(), config={"web_config": f"{tmp_path}/web.yml"}) as host:
        p = asked(host)
        assert answer("operator:secret", "approve")[0] == 405, "nobody has said that it may"
        assert ask("you", "operator:secret")[1]["may_answer"] is False

        done = may(web_may_answer=["stranger"])
        assert done.returncode != 0 and "web_may_answer: stranger: is not in basic_auth_users" in done.stderr
        assert may(web_may_answer=["operator"]).returncode == 0
        assert ask("you", "operator:secret")[1].items() >= {"name": "web user operator", "may_answer": True}.items()
        assert ask("you", "reader:other")[1].items() >= {"name": None, "may_answer": False}.items()
        assert answer("reader:other", "approve")[0] == 403
        assert answer("operator:other", "approve")[0] == 401
        assert answer("operator:secret", "approve", "-H", "Origin: https://evil.example")[0] == 403
        assert asked(host)["id"] == p["id"] and not host.events("cpu_share")
        assert answer("operator:secret", "approve", "-H", f"Origin: https://127.0.0.1:{host.port}")[0] == 200
        host.wait(host.completed)
        assert audit(host, result="approved")["approved_by"] == "web user operator"
        assert audit(host, action="throttle", result="applied")["approved_by"] == "web user operator, when asked"

        assert may().returncode == 0
        assert answer("operator:secret", "deny")[0] == 405


def test_who_may_answer_needs_tls_and_a_password(tmp_path):
    (tmp_path / "web.yml").write_text(f"basic_auth_users:\n  operator: {SECRET}\n")
    (tmp_path / "web.yml").chmod(0o600)
    with Host([domain("vm", start="1h")], []) as host:
        for config, why in (({"web_config": f"{tmp_path}/web.yml"}, "operator: only over TLS"), ({}, "needs web_config")):
            (host.dir / "migpolicyd.json").write_text(json.dumps({"web_may_answer": ["operator"], **config}))
            done = host.tried("reload")
            assert done.returncode != 0 and f"web_may_answer: {why}" in done.stderr
