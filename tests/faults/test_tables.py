# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tables on a terminal fit it, whatever VMs are called; and JSON says no more than is known."""

import json
import os
import re

import pytest
from simhost import MIGPOLICY, Host, calm, domain
from test_watch import Terminal

NAME = "a-customer-whose-name-is-long.example.org-database-0001"


def shown(host, *args, columns=80, **env):
    """The lines a command prints on a terminal."""
    with Terminal([MIGPOLICY, "--socket", host.dir / "run/io.migpolicy", *args], columns=columns,
                  **env) as t:
        t.process.wait(60)
        t.read(lambda out: out.endswith(b"\n"))
    return t.output.decode().replace("\r", "").splitlines()


@pytest.fixture(scope="module")
def host():
    """A migration that needs help, one that ends by itself, and one that has ended."""
    vms = [calm("fine", ram="4GiB", zero="0MiB", link="100Mbit/s"), domain(NAME), calm("over", start="0s")]
    with Host(vms, [], time_factor=4) as h:
        h.wait(lambda: any(m["verdict"] in ("needs-help", "hopeless") for m in h.status()) and
               any(m["vm"] == "fine" for m in h.status()) and h.completed())
        h.wait(lambda: any(not m["active"] for m in h.status("-a")))
        yield h


@pytest.mark.parametrize("columns", [60, 80, 100])
@pytest.mark.parametrize("args", [["status", "-a"], ["history"], ["show", "fine"]])
def test_tables_fit_the_terminal(host, columns, args):
    lines = shown(host, *args, columns=columns)
    assert len(lines) > 1 and max(map(len, lines)) <= columns, lines


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may set policies here")
def test_so_do_those_of_questions_and_overrides():
    with Host([domain(NAME)], [{"name": "*", "policy": {"allow_throttle": "ask"}}], time_factor=4) as h:
        h.command("set", NAME, "--max-downtime", "310ms")
        h.wait(lambda: json.loads(h.command("pending", "--json"))["proposals"])
        for verb in "pending", "overrides":
            lines = shown(h, verb)
            assert len(lines) == 2 and max(map(len, lines)) <= 80, lines


def test_what_matters_stays_and_in_a_pipe_everything(host):
    heading, first = shown(host, "status", columns=80)[:2]
    assert {"VM", "VERDICT", "ETA", "NEXT"} <= set(heading.split())
    assert first.startswith(NAME[:6]) and "…" in first.split()[0]
    assert "~" in shown(host, "status", LC_ALL="C")[1].split()[0]
    piped = host.command("status")
    assert NAME in piped and {"PASS", "DIRTY", "TRANSFER", "CPU"} <= set(piped.split("\n")[0].split())


def test_what_is_urgent_comes_first(host):
    rows = [line.split()[0] for line in host.command("status", "-a", "--no-legend").splitlines()]
    assert rows == [NAME, "fine", "over"]


def test_who_waits_for_an_answer_comes_before_all_others():
    rules = [{"name": "b-asks", "policy": {"allow_throttle": "ask"}}]
    with Host([domain("a-stuck"), domain("b-asks")], rules) as host:
        host.wait(lambda: sorted(m["reason"] for m in host.status()) == ["asked", "not-approved"])
        assert [line.split()[0] for line in host.command("status", "--no-legend").splitlines()] == ["b-asks", "a-stuck"]
        host.command("pause")
        host.wait(lambda: all(m["paused"] for m in host.status()))
        assert [line.split()[0] for line in host.command("status", "--no-legend").splitlines()] == ["a-stuck", "b-asks"]


def test_numbers_have_the_digits_they_need(host):
    for args in (["status", "-a"], ["explain", NAME]):
        text = host.command(*args, "--json")
        numbers = re.findall(r"\b\d+\.(\d+)", text)
        assert numbers and max(map(len, numbers)) <= 6, text
