# SPDX-License-Identifier: LGPL-2.1-or-later
"""migpolicy watch, on a terminal and in a pipe."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

import pytest
from simhost import MIGPOLICY, PATIENCE_S, Host, calm, domain

RULES = [{"name": "*", "policy": {"allow_throttle": True, "max_downtime": "500ms"}}]
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


class Terminal:
    """A command with a terminal of its own, all of whose output is kept."""

    def __init__(self, args, rows=24, columns=100, **env):
        self.master, self.slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.slave)
        self.output = b""
        self.process = subprocess.Popen(
            args, stdin=self.slave, stdout=self.slave, stderr=self.slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", **env})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, until, seconds=10):
        """Reads until `until` holds of all output."""
        end = time.monotonic() + seconds
        while not until(self.output):
            assert time.monotonic() < end, self.output[-2000:]
            if select.select([self.master], [], [], 0.1)[0]:
                self.output += os.read(self.master, 65536)

    def frame(self):
        """The lines of the last frame that is whole."""
        return self.output.split(b"\x1b[J")[-2].rsplit(b"\x1b[H", 1)[1].split(b"\r\n")

    def new_frame(self):
        n = self.output.count(b"\x1b[J")
        self.read(lambda out: out.count(b"\x1b[J") > n)
        return self.frame()


def watch(host, *args, **terminal):
    """`terminal`: its size and environment."""
    return Terminal([MIGPOLICY, "--socket", host.dir / "run/io.migpolicy", "watch", *args],
                    **terminal)


@pytest.fixture(scope="module")
def host():
    """One migration that goes on for a while, and ends by cancelling."""
    rules = [{"name": "*", "policy": {"allow_cancel": True, "deadline": "3m",
                                      "on_deadline": "cancel"}}]
    with Host([domain(f"vm{i}\n") for i in range(20)], rules, time_factor=4) as h:
        h.wait(lambda: len(h.status()) == 20)
        yield h


def test_it_draws_a_table_and_graphs_and_restores_the_terminal(host):
    with watch(host) as t:
        t.read(lambda out: "▁".encode() in out or "█".encode() in out)
        assert t.output.startswith(ENTER)
        assert not termios.tcgetattr(t.slave)[3] & termios.ECHO
        first = t.new_frame()
        assert b"VERDICT" in first[0] and b"vm0\\x0a" in b"".join(first)
        assert len(first) == 24
        assert b"\x1b[33m" in t.output

        t.resize(10, 60)
        assert len(t.new_frame()) == 10
        t.resize(70, 60)
        assert max(len(line.split(b"\x1b[0m")[0].decode().removeprefix("\x1b[K"))
                   for line in t.new_frame() if line.startswith(b"dirtied")) <= 60

        os.write(t.master, b"\x03")
        t.read(lambda out: out.endswith(LEAVE))
        assert t.process.wait(5) == 0
        assert b"\x1b[?25h" in t.output
        assert termios.tcgetattr(t.slave) == t.before


def test_keys_choose_a_row_explain_it_and_quit(host):
    with watch(host, rows=30) as t:
        t.read(lambda out: b"VERDICT" in out and b"q: quit" in out)
        assert b"\x1b[7m" not in t.output
        os.write(t.master, b"\x1b[B\x1b[B")
        t.read(lambda out: b"\x1b[7m" in out)
        chosen = [line for line in t.new_frame() if line.startswith(b"\x1b[7m")]
        assert len(chosen) == 1
        name = chosen[0].split(b"\\x0a")[0].removeprefix(b"\x1b[7m").decode()
        os.write(t.master, b"\r")
        t.read(lambda out: b"Forecast" in out and b"q: back" in out)
        assert f"VM        {name}\\x0a".encode() in t.output
        t.output = b""
        os.write(t.master, b"\x1b[B")
        t.read(lambda out: b"q: back" in out and b"VM      " not in out)
        os.write(t.master, b"q")
        t.read(lambda out: b"q: quit" in out)
        os.write(t.master, b"q")
        assert t.process.wait(10) == 0
        t.read(lambda out: out.endswith(LEAVE))
        assert termios.tcgetattr(t.slave) == t.before


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_restores_the_terminal_as_well(host, signo):
    with watch(host) as t:
        t.read(lambda out: b"\x1b[J" in out)
        t.process.send_signal(signo)
        t.read(lambda out: out.endswith(LEAVE))
        assert t.process.wait(5) == 0
        assert termios.tcgetattr(t.slave) == t.before


def test_neither_colour_nor_unicode_where_they_are_not_wanted(host):
    for args, env in ((["--color=never"], {}), ([], {"NO_COLOR": "1"})):
        with watch(host, *args, LC_ALL="C", **env) as t:
            t.read(lambda out: out.count(b"\x1b[J") > 1 and b"#" in out)
            assert b"\x1b[3" not in t.output and b"\x1b[0m" not in t.output
            assert t.output.isascii()


def test_it_finds_a_daemon_that_was_restarted(tmp_path):
    with Host([calm("vm", start="1h")], RULES, state_dir=tmp_path) as h:
        with watch(h) as t:
            t.read(lambda out: b"no migration is under way" in out)
            assert h.stop() == 0
            t.read(lambda out: b"cannot be reached" in out)
            assert t.process.poll() is None


def test_it_can_be_interrupted_while_the_daemon_hangs(host):
    with watch(host) as t:
        t.read(lambda out: b"VERDICT" in out)
        host.process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(1.5)
            os.write(t.master, b"\x03")
            assert t.process.wait(4) == 0
        finally:
            host.process.send_signal(signal.SIGCONT)


def test_a_terminal_of_unknown_size_is_taken_for_a_usual_one(host):
    with watch(host, rows=0, columns=0) as t:
        t.read(lambda out: b"VERDICT" in out)
        assert len(t.new_frame()) == 24


def test_it_ends_with_who_reads_it(host):
    args = [MIGPOLICY, "--socket", host.dir / "run/io.migpolicy", "watch", "no*"]
    pipe = subprocess.Popen(args, stdout=subprocess.PIPE)
    master, slave = pty.openpty()
    terminal = subprocess.Popen(args, stdin=slave, stdout=slave, stderr=subprocess.DEVNULL,
                                start_new_session=True, env={**os.environ, "TERM": "xterm"})
    os.close(slave)
    try:
        pipe.stdout.close()
        assert pipe.wait(5) == -signal.SIGPIPE
        shown = b""
        while b"no migration" not in shown:
            shown += os.read(master, 4096)
        os.close(master)
        assert terminal.wait(5) == 1
    finally:
        for process in pipe, terminal:
            process.kill()
            process.wait()


def test_in_a_pipe_a_line_for_each_change_and_json_for_each_update(tmp_path):
    with Host([domain("vm", start="2s")], RULES, state_dir=tmp_path, time_factor=4) as h:
        args = [MIGPOLICY, "--socket", h.dir / "run/io.migpolicy", "watch"]
        with subprocess.Popen(args, stdout=subprocess.PIPE, text=True) as text, \
             subprocess.Popen([*args, "-o", "jsonl"], stdout=subprocess.PIPE, text=True) as jsonl:
            h.wait(h.completed)
            time.sleep(2.5)
            text.terminate()
            jsonl.terminate()
            lines = text.stdout.read().splitlines()
            updates = [json.loads(line) for line in jsonl.stdout]
        assert len(lines) >= 2 and len(set(lines)) == len(lines)
        assert lines[-1].startswith("vm: completed after")
        assert all("\x1b" not in line and line.startswith("vm: ") for line in lines)
        assert [u["active"] for u in updates] == [True] * (len(updates) - 1) + [False]
        assert len(updates) >= 2 and updates[-1]["result"] == "completed"
        assert subprocess.run([*args, "nobody"], capture_output=True, timeout=PATIENCE_S).returncode == 4
