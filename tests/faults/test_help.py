# SPDX-License-Identifier: LGPL-2.1-or-later
"""Help: each command tells of itself, and a word that is none is answered with the likely one."""

import subprocess

import pytest
from simhost import MIGPOLICY, Host, calm


def run(*args):
    return subprocess.run([MIGPOLICY, *args], capture_output=True, text=True)


def verbs():
    lines = run("help").stdout.split("Commands")[1].split("Options")[0].splitlines()[1:]
    return [line.split()[0] for line in lines if line.strip()]


def test_the_short_help_fits_on_a_screen_and_names_each_command():
    assert len(run("help").stdout.splitlines()) <= 45
    assert {"status", "set", "simulate", "help"} <= set(verbs())
    assert run("--help").stdout == run("help").stdout


def test_each_command_tells_of_the_options_it_takes_and_of_no_others():
    for verb in verbs():
        done = run("help", verb)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"Usage: migpolicy {verb} ")
        assert run(verb, "--help").stdout == done.stdout
        assert ("--max-downtime" in done.stdout) == (verb in ("set", "simulate", "predict"))
        assert ("--dry-run" in done.stdout) == (verb in ("apply", "set"))
        assert ("--link" in done.stdout) == (verb in ("simulate", "predict"))


def test_help_all_has_everything():
    everything = run("help", "--all").stdout
    assert all(f"Usage: migpolicy {verb} " in everything for verb in verbs())


@pytest.mark.parametrize("args", [
    ["--socket", "/nonexistent", "wait", "vm"], ["wait", "--socket=/nonexistent", "vm"],
    ["-qo", "json", "--socket", "/nonexistent", "wait", "vm"], ["--socket", "/nonexistent", "vm"]])
def test_what_all_commands_take_may_stand_before_the_command_and_behind_it(args):
    done = run(*args)
    assert (done.returncode, "at /nonexistent" in done.stderr) == (3, True)


@pytest.mark.parametrize("args,status,said", [
    (["help", "staus"], 2, "did you mean status?"),
    (["help", "xyzzy"], 2, "see migpolicy help"),
    (["set", "vm", "--max-downtme=2s"], 2, "did you mean --max-downtime?"),
    (["set", "vm", "--xyzzy"], 2, "set has no option --xyzzy; see migpolicy help set"),
    (["show", "vm", "--dry-run"], 2, "show has no option --dry-run; see migpolicy help show"),
    (["show", "vm", "--max-downtime=2s"], 2, "migpolicy set has"),
    (["wait", "vm", "--timeout"], 2, "--timeout needs a value; see migpolicy help wait"),
    (["watch", "--color=blue"], 2, "\"blue\" is not auto, always or never"),
    (["reload", "now"], 2, "reload takes only options; what is \"now\"?"),
])
def test_a_mistyped_word_is_one_line_with_the_next_step(args, status, said):
    done = run(*args)
    assert (done.returncode, len(done.stderr.splitlines())) == (status, 1)
    assert said in done.stderr


def test_a_mistyped_command_is_taken_for_a_vm_and_the_answer_says_what_may_have_been_meant():
    with Host([calm("vm", start="1h")], []) as host:
        done = subprocess.run([MIGPOLICY, "--socket", host.dir / "run/io.migpolicy", "pendin"],
                              capture_output=True, text=True)
        assert (done.returncode, len(done.stderr.splitlines())) == (4, 1)
        assert "did you mean the command pending?" in done.stderr
