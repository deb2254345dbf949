# SPDX-License-Identifier: LGPL-2.1-or-later
"""Completion in zsh and fish, by these shells themselves."""

import os
import pathlib
import shutil
import subprocess

import pytest
from simhost import MIGPOLICY, PATIENCE_S, Host, domain
from test_watch import Terminal

COMPLETION = pathlib.Path(__file__).resolve().parents[2] / "etc/completion"
PATH = f"{MIGPOLICY.parent}:{os.environ['PATH']}"


@pytest.fixture(scope="module")
def host():
    with Host([domain("vm-one"), domain("$(touch x)")], [], time_factor=4) as h:
        h.wait(lambda: len(h.status()) == 2)
        yield h


@pytest.mark.skipif(not shutil.which("fish"), reason="tests/setup test installs it")
def test_fish_completes_commands_options_and_vms(host, tmp_path):
    def complete(line):
        script = f"source {COMPLETION}/migpolicy.fish; complete -C '{line}'"
        return subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True,
                              timeout=PATIENCE_S, cwd=tmp_path, env={**os.environ, "PATH": PATH, "HOME": str(tmp_path),
                                   "MIGPOLICY_SOCKET": str(host.dir / "run/io.migpolicy")}).stdout

    assert complete("migpolicy over") == "overrides\twhat was set, of VMs here and elsewhere\n"
    assert complete("migpolicy apply --exp").startswith("--expected\t")
    assert complete("migpolicy show vm-") == "vm-one\n"
    complete("migpolicy show ")
    assert not (tmp_path / "x").exists()


@pytest.mark.skipif(not shutil.which("zsh"), reason="tests/setup test installs it")
def test_zsh_completes_commands_options_and_vms(host, tmp_path):
    (tmp_path / ".zshrc").write_text(
        f"PS1='ready> '; fpath=({COMPLETION} $fpath); autoload -Uz compinit; compinit -u -D; cd {tmp_path}\n")
    with Terminal(["zsh", "-i"], PATH=PATH, ZDOTDIR=str(tmp_path), HOME=str(tmp_path),
                  MIGPOLICY_SOCKET=str(host.dir / "run/io.migpolicy")) as t:
        t.read(lambda out: b"ready> " in out, 60)
        for typed, completed in ((b"over", b"overrides"), (b"apply --exp", b"--expected"),
                                 (b"show vm-", b"vm-one"), (b"show '$(to", b"x)")):
            t.output = b""
            os.write(t.master, b"\x15migpolicy " + typed + b"\t")
            t.read(lambda out: completed in out, 60)
        assert not (tmp_path / "x").exists()
