# SPDX-License-Identifier: LGPL-2.1-or-later
"""Readers of the control socket, however many: the daemon and its administrators get their turn."""

import collections
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
from simhost import Host, calm, domain

HISTORY_BYTES = 1_000_000  # as much as each of the two files may hold


def long_history(state_dir):
    line = json.dumps({"schema_version": 1, "vm": "other", "uuid": "x", "events": ["x" * 40] * 40})
    text = (line + "\n") * (HISTORY_BYTES // len(line))
    (state_dir / "history.jsonl").write_text(text)
    (state_dir / "history.jsonl.1").write_text(text)


def ask(path, method, stop, **parameters):
    """Asks the same again and again; each answer is waited for."""
    message = json.dumps({"method": f"io.migpolicy.{method}", "parameters": parameters}).encode() + b"\0"
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        while not stop.is_set():
            s.sendall(message)
            reply = b""
            while not reply.endswith(b"\0"):
                reply += s.recv(1 << 20)


def test_the_history_is_read_in_one_thread_of_its_own_however_many_ask(tmp_path):
    long_history(tmp_path)
    with Host([calm("vm", start="1h")], [], state_dir=tmp_path) as host:
        stop = threading.Event()
        path = str(host.dir / "run/io.migpolicy")
        readers = [threading.Thread(target=ask, args=(path, "History", stop), kwargs={"vm": "vm"})
                   for _ in range(6)]
        for reader in readers:
            reader.start()
        seen = []
        try:
            host.wait(lambda: seen.append(host.works()) or seen.count(1) >= 5)
            assert max(seen) == 1
            host.command("pause")
            host.command("resume")
        finally:
            stop.set()
            for reader in readers:
                reader.join()
        assert '"vm":"other"' in host.command("history", "other", "-o", "jsonl")
        assert host.stop() == 0


def test_a_reader_that_leaves_while_it_waits_is_forgotten(tmp_path):
    long_history(tmp_path)
    message = b'{"method":"io.migpolicy.History","parameters":{"vm":"vm"}}\0'
    with Host([calm("vm", start="1h")], [], state_dir=tmp_path) as host:
        for _ in range(20):
            gone = [socket.socket(socket.AF_UNIX) for _ in range(8)]
            for s in gone:
                s.connect(str(host.dir / "run/io.migpolicy"))
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    s.sendall(message)  # turned away where the last ones are not closed yet
            for s in gone:
                s.close()
        # Until it has seen that they are gone, it is busy, and says so.
        host.wait(lambda: host.tried("status").returncode == 0)
        assert '"vm":"other"' in host.command("history", "other", "-o", "jsonl")
        assert host.stop() == 0


def call(method, **parameters):
    return json.dumps({"method": f"io.migpolicy.{method}", "parameters": parameters}).encode() + b"\0"


def answers(s, count):
    text = b""
    while text.count(b"\0") < count:
        got = s.recv(1 << 20)
        assert got, text
        text += got
    return [json.loads(one)["parameters"] for one in text.split(b"\0")[:-1]]


@pytest.mark.skipif(os.geteuid() != 0, reason="takes other users")
def test_the_emergency_verbs_pass_what_readers_have_asked_before():
    """What each reader is told shows whether it was served before the verb or after it."""
    readers, ahead = 20, 50
    with Host([domain("vm", ram="8GiB", zero="0B")], [], time_factor=1) as host, \
            contextlib.ExitStack() as stack:
        host.wait(host.status)
        host.dir.chmod(0o711)
        path = host.dir / "run/io.migpolicy"
        path.chmod(0o666)

        def connect(user):
            s = stack.enter_context(socket.socket(socket.AF_UNIX))
            os.seteuid(user)
            try:
                s.connect(str(path))
            finally:
                os.seteuid(0)
            s.sendall(call("Status"))
            answers(s, 1)  # it has been let in
            return s

        users = [connect(65534 - i % 2) for i in range(readers)]
        root = connect(0)

        def served_before(*verbs):
            """(by host_paused_by, how many of the readers' calls were served with that)"""
            host.process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, host.process.pid, os.WSTOPPED | os.WNOWAIT)
            for s in users:
                s.sendall(call("Status") * ahead)
            root.sendall(b"".join(verbs))
            host.process.send_signal(signal.SIGCONT)
            answers(root, len(verbs))
            return collections.Counter(a["host_paused_by"] for s in users for a in answers(s, ahead))

        # Of each reader at most one call for each of the verbs.
        seen = served_before(call("Release", vm="vm"), call("Pause"))
        assert seen["uid 0"] >= readers * (ahead - 2) and seen.total() == readers * ahead, seen
        seen = served_before(call("Resume"))
        assert seen[None] >= readers * (ahead - 1) and seen.total() == readers * ahead, seen


HOLD = """
import socket, sys
held = []
for _ in range(40):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    held.append(s)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="takes other users")
def test_users_who_hold_all_connections_leave_some_to_root(tmp_path):
    with Host([calm("vm", start="1h")], [], state_dir=tmp_path) as host:
        host.dir.chmod(0o711)
        path = host.dir / "run/io.migpolicy"
        path.chmod(0o666)
        holders = []
        try:
            for user in (65533, 65534):
                holders.append(subprocess.Popen([sys.executable, "-c", HOLD, path], user=user, group=user,
                                                extra_groups=[], stdin=subprocess.PIPE,
                                                stdout=subprocess.PIPE))
                assert holders[-1].stdout.readline() == b"held\n"
            host.command("pause")
            host.command("resume")
        finally:
            for holder in holders:
                holder.kill()
                holder.communicate()
        assert host.stop() == 0
