# SPDX-License-Identifier: LGPL-2.1-or-later
"""Another host's daemon, asked by ssh: here a script of that name that runs the command at once."""

import json
import os
import subprocess

import pytest
from simhost import MIGPOLICY, PATIENCE_S, Host, calm, domain

SSH = """#!/bin/sh
printf '%s\\n' "$*" >>"$LOG"
[ "$1 $2" = "-T --" ] || exit 99
[ "$3" = down ] && {{ echo "ssh: connect to host down: refused" >&2; exit 255; }}
[ "$3" = bare ] && exec env PATH=/nonexistent /bin/sh -c "$4"
PATH={path}:$PATH exec /bin/sh -c "$4"
"""


@pytest.fixture
def remote(tmp_path):
    """How to run a command with that ssh; and what it was called with."""
    ssh = tmp_path / "ssh"
    ssh.write_text(SSH.format(path=MIGPOLICY.parent))
    ssh.chmod(0o755)
    log = tmp_path / "log"
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "LOG": str(log),
           "MIGPOLICY_SOCKET": "/nonexistent/local"}

    def run(*args):
        return subprocess.run([MIGPOLICY, *args], capture_output=True, text=True, env=env, timeout=PATIENCE_S)

    run.log, run.env = log, env
    return run


def test_commands_ask_the_other_host_and_sign_in_once(remote):
    with Host([domain("vm"), calm("it's", start="1h")], []) as host:
        host.wait(host.status)
        there = ["-H", "root@there", "--socket", str(host.dir / "run/io.migpolicy")]
        assert [m["vm"] for m in json.loads(remote(*there, "status", "--json").stdout)["migrations"]] == ["vm"]
        assert remote(*there, "status", "vm", "vm").returncode == 0
        assert len(remote.log.read_text().splitlines()) == 2
        assert remote(*there, "explain", "vm").stdout == host.command("explain", "vm") or \
            "Verdict" in remote(*there, "explain", "vm").stdout
        assert remote(*there, "show", "nobody").returncode == 4


def test_a_stream_comes_over_it_and_its_end_ends_the_ssh(remote):
    with Host([domain("vm")], []) as host:
        args = [MIGPOLICY, "-H", "there", "--socket", host.dir / "run/io.migpolicy", "watch", "-o", "jsonl"]
        with subprocess.Popen(args, stdout=subprocess.PIPE, text=True, env=remote.env) as watch:
            try:
                assert json.loads(watch.stdout.readline())["vm"] == "vm"
                assert host.stop() == 0
                assert watch.wait(60) == 3
            finally:
                watch.kill()


def test_what_goes_wrong_is_told(remote):
    down = remote("-H", "down")
    assert (down.returncode, down.stderr.splitlines()[-1]) == (3, "migpolicy: cannot reach down by ssh")
    bare = remote("-H", "bare")
    assert (bare.returncode, "no migpolicy in the PATH of bare" in bare.stderr) == (3, True)
    gone = remote("-H", "there", "--socket", "/nonexistent/it's $(id)")
    assert (gone.returncode, gone.stderr.count("\n")) == (3, 1)
    assert "/nonexistent/it's $(id)" in gone.stderr
    for host in ("", "-oProxyCommand=id"):
        refused = remote(f"--host={host}")
        assert (refused.returncode, "not the name of a host" in refused.stderr) == (2, True)
    env = {**remote.env, "PATH": "/nonexistent"}
    none = subprocess.run([MIGPOLICY, "-H", "there"], capture_output=True, text=True, env=env)
    assert (none.returncode, "no ssh" in none.stderr) == (3, True)


def test_the_socket_of_this_host_is_not_looked_for_on_the_other_one(remote):
    assert "/nonexistent/local" not in remote("-H", "there").stderr
    assert "--socket='/run/migpolicy/io.migpolicy'" in remote.log.read_text()
