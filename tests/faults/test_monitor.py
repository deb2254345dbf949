# SPDX-License-Identifier: LGPL-2.1-or-later
"""The stream of what happens, and readers of it that are slow, dead or many."""

import json
import os
import pathlib
import socket
import subprocess
import time

import pytest
from simhost import MIGPOLICY, PATIENCE_S, Host, calm, domain

THROTTLE = [{"name": "*", "policy": {"allow_throttle": True, "min_cpu": "10%"}}]
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may approve here")


class Reader:
    """One that calls Monitor, and reads when it is told to."""

    def __init__(self, host, more=True, receive_bytes=None, **parameters):
        self.socket = socket.socket(socket.AF_UNIX)
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(str(host.dir / "run/io.migpolicy"))
        call = {"method": "io.migpolicy.Monitor", "parameters": parameters, "more": more}
        self.socket.sendall(json.dumps(call).encode() + b"\0")
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def next(self):
        while b"\0" not in self.rest:
            more = self.socket.recv(65536)
            assert more, "the daemon has hung up"
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def until(self, condition):
        """All replies up to the one of which that holds."""
        replies = [self.next()["parameters"]]
        while not condition(replies[-1]):
            replies.append(self.next()["parameters"])
        return replies


def memory_kib(host):
    status = pathlib.Path(f"/proc/{host.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def test_it_tells_what_is_and_then_what_happens_each_event_once():
    with Host([domain("vm"), calm("before", start="0s")], THROTTLE) as host:
        host.wait(lambda: "before" in host.completed() and
                  any(not m["active"] for m in host.status("-a")))
        with Reader(host) as r:
            first = r.next()
            assert first["continues"] and first["parameters"]["libvirt_connected"]
            assert first["parameters"]["events"] == []
            assert "before" in {m["vm"] for m in first["parameters"]["migrations"]}
            told = r.until(lambda p: any(m["vm"] == "vm" and not m["active"] for m in p["migrations"]))
            actions = [(e["event"]["action"], e["event"]["result"]) for p in told for e in p["events"]]
            events = json.loads(host.command("explain", "vm", "--json"))["events"]
            assert actions == [(e["action"], e["result"]) for e in events][-len(actions):]
            assert ("throttle", "applied") in actions and ("release", "applied") in actions
            assert not any(m["vm"] == "before" for p in told for m in p["migrations"])
            assert sum(p["events_missed"] for p in told) == 0


@root_only
def test_of_one_vm_it_tells_that_alone_and_of_the_host():
    with Host([domain("vm"), domain("other")], THROTTLE) as host:
        host.wait(lambda: len(host.status()) == 2)
        with Reader(host, vm="vm") as r:
            r.next()
            host.command("pause")
            paused = r.until(lambda p: p["host_paused_by"])
            assert {m["vm"] for p in paused for m in p["migrations"]} <= {"vm"}
            host.command("resume")
            r.until(lambda p: not p["host_paused_by"])


def test_it_is_to_be_called_for_more_and_of_a_vm_that_is_there():
    with Host([calm("vm", start="1h")], []) as host:
        for error, reader in (("org.varlink.service.ExpectedMore", Reader(host, more=False)),
                              ("io.migpolicy.NoSuchVM", Reader(host, vm="nobody"))):
            with reader as r:
                assert r.next()["error"] == error


def test_a_quiet_host_says_so_now_and_then():
    with Host([calm("vm", start="10h")], [], time_factor=20) as host:
        with Reader(host) as r:
            for _ in range(3):
                assert r.next()["parameters"]["migrations"] == []


def test_readers_that_do_not_read_are_dropped_with_a_message_and_cost_no_memory():
    """While others read on, and commands are answered."""
    vms = [domain(f"vm{i}", hot="400MiB", ram="1GiB") for i in range(60)]
    with Host(vms, [], time_factor=8) as host:
        host.wait(lambda: len(host.status()) == 60)
        dead = [Reader(host, receive_bytes=4096) for _ in range(8)]
        with Reader(host) as alive:
            alive.next()
            before = memory_kib(host)
            while host.log().count("has not read what Monitor told it") < len(dead):
                alive.next()
                host.status()
                assert host.process.poll() is None
            assert memory_kib(host) - before < 16 * 1024
            for r in dead:
                with r:
                    message = r.next()
                    while message.get("continues"):
                        message = r.next()
                    assert message["error"] == "io.migpolicy.Busy"
            alive.next()
        assert host.stop() == 0


def test_a_slow_reader_is_told_less_often_and_misses_nothing():
    vms = [domain(f"vm{i}") for i in range(40)]
    with Host(vms, THROTTLE, time_factor=2) as host:
        host.wait(lambda: len(host.status()) == 40)
        with Reader(host, receive_bytes=4096) as r:
            r.next()
            seen = []
            while len({e["vm"] for e in seen if e["event"]["action"] == "throttle"}) < 40:
                time.sleep(0.5)
                reply = r.next()
                assert "error" not in reply, reply
                assert reply["parameters"]["events_missed"] == 0
                seen += reply["parameters"]["events"]
            keys = [(e["uuid"], e["event"]["time"], e["event"]["action"]) for e in seen]
            assert len(set(keys)) == len(keys)


def test_readers_that_leave_are_forgotten():
    with Host([domain("vm")], []) as host:
        host.wait(host.status)
        for _ in range(50):
            with Reader(host) as r:
                r.next()
        host.status()
        with Reader(host) as r:
            r.next()
            assert host.stop() == 0


@root_only
def test_pending_follow_tells_of_each_question_as_it_comes_and_goes():
    rules = [{"name": "*", "policy": {"allow_throttle": "ask", "min_cpu": "10%"}}]
    with Host([domain("a"), domain("b", start="20s")], rules) as host:
        args = [MIGPOLICY, "--socket", host.dir / "run/io.migpolicy", "pending", "--follow"]
        with subprocess.Popen(args, stdout=subprocess.PIPE, text=True) as text, \
             subprocess.Popen([*args, "-o", "jsonl"], stdout=subprocess.PIPE, text=True) as jsonl:
            try:
                lines = [text.stdout.readline()]
                number, vm = lines[0].split(":")[0].split()
                assert vm == "a"
                # By name: a question that has grown meanwhile has another number.
                host.wait(lambda: host.tried("approve", "a").returncode == 0)
                while not (f"{number} a: is not asked any more\n" in lines and
                           any(" b: CPU at 10%" in line for line in lines)):
                    lines.append(text.stdout.readline())
                told = [json.loads(jsonl.stdout.readline()) for _ in lines]
                assert (told[0]["vm"], told[0]["id"]) == ("a", int(number))
                # Each question about a has gone, and none about b.
                assert [t["id"] for t in told if t.get("gone")] == \
                    [t["id"] for t in told if t.get("vm") == "a" and not t.get("gone")]
            finally:
                text.terminate()
                jsonl.terminate()
        host.command("deny", "--all")
