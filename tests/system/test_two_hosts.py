# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two hosts, one policy, one Prometheus, and commands that go to the other host by OpenSSH."""

import contextlib
import json
import subprocess
from pathlib import Path

import pytest

from lab import BUILD, MIGPOLICY, PATIENCE_S, Agent, Guest, Output, Prometheus, wait_until

THERE = "192.0.2.2"
NOBODY = "192.0.2.1"
REMAINING = "migpolicy_migration_memory_remaining_bytes"

# Root's login has nothing to do with its password, which may be locked: hence a shadow of our own.
SSHD = f"""
ListenAddress {THERE}
HostKey {{0}}/host-key
AuthorizedKeysFile {{0}}/user-key.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
StrictModes no
PidFile none
SetEnv PATH={BUILD}/agent:/usr/bin:/bin
"""
START_SSHD = 'mount --bind "$1/shadow" /etc/shadow && exec /usr/sbin/sshd -D -e -f "$1/sshd_config"'
CLIENT = """
BatchMode yes
IdentityFile {0}/user-key
IdentitiesOnly yes
UserKnownHostsFile {0}/known-hosts
GlobalKnownHostsFile none
"""


@pytest.fixture(scope="module")
def far(lab):
    """Runs migpolicy on host a with -H to host b, or another address; keys are made for this run."""
    directory = lab.new_directory()
    for key in ("host-key", "user-key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / key], check=True)
    public = (directory / "host-key.pub").read_text()
    (directory / "known-hosts").write_text(f"{THERE} {public}")
    (directory / "sshd_config").write_text(SSHD.format(directory))
    (directory / "shadow").write_text("root:*:19000::::::\n")
    (directory / "client").write_text(CLIENT.format(directory))
    # The client's own configuration is found by its user's home, whatever HOME says.
    ssh = directory / "bin/ssh"
    ssh.parent.mkdir()
    ssh.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {directory}/client "$@"\n')
    ssh.chmod(0o755)
    (lab.directory / "b/run/sshd").mkdir()
    with lab.spawn(
        *("exec", "b", "unshare", "-m", "sh", "-c", START_SSHD, "sh", directory), stderr=subprocess.PIPE
    ) as sshd:
        said = Output(sshd.stderr)
        wait_until(lambda: said.find(f"listening on {THERE}"), "sshd listens")

        def run(*args, host=f"root@{THERE}", start=lab.run, **options):
            path = ("env", f"PATH={ssh.parent}:/usr/bin:/bin")
            return start("exec", "a", *path, MIGPOLICY, "-H", host, *args, **options)

        run.directory = directory
        yield run
        sshd.terminate()
        sshd.wait(PATIENCE_S)


@contextlib.contextmanager
def following(far, agent, guest):
    """The states that `watch` tells, over one connection for all of them."""
    watch = far("--socket", agent.socket, "watch", "-o", "jsonl", guest.name,
                start=agent.lab.spawn, stdout=subprocess.PIPE)
    states = Output(watch.stdout)
    try:
        yield lambda: [json.loads(line) for _, line in list(states.lines)]
    finally:
        assert bridges(agent), "the far end is a process of its own"
        watch.terminate()
        watch.wait(PATIENCE_S)
        wait_until(lambda: not bridges(agent), "the far end ends with it")


def bridges(agent):
    """The processes that pass on what is said to this agent."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().split(b"\0")
            if b"bridge" in command and f"--socket={agent.socket}".encode() in command:
                found.append(process.name)
    return found


def migrates_and_is_scraped(prometheus, guest, host, agent):
    """Until it has left; its series are from the host that it leaves, and only from there."""
    client = guest.migrate("--from", host)
    series = f'{REMAINING}{{vm="{guest.name}"}}'
    (labels,) = wait_until(lambda: prometheus.ask(series), "its series are there")
    assert labels["instance"] == agent.served_at()
    assert client.wait(PATIENCE_S) == 0
    wait_until(lambda: prometheus.ask(series) == [], "its series are gone")


def test_a_vm_its_policy_and_its_series_move_and_move_back(lab, far):
    # Slow enough to be scraped, and with a limit to be lowered: QEMU's own is 300 ms.
    with (
        Agent(lab) as here,
        Agent(lab, host="b", address=THERE) as there,
        Guest(lab, "hot=1M", memory="64M") as guest,
        Prometheus(lab, here, there) as prometheus,
    ):
        def ask_far(*args):
            return json.loads(far("--socket", there.socket, "--json", *args).stdout)

        def where():
            """On which of the two hosts it is, by what is stored for it there."""
            return [
                override["here"]
                for told in (here.query("overrides"), ask_far("overrides"))
                for override in told["overrides"]
                if override["vm"] == guest.name
            ]

        fleet = far.directory / "fleet.json"
        fleet.write_text(json.dumps({"vms": {guest.name: {"policy": {"max_downtime": "200ms"}}}}))
        apply = ("apply", "--expected", "-f", fleet)
        here.query(*apply)
        ask_far(*apply)
        assert where() == [True, False]

        lab.virsh("a", "migrate-setspeed", guest.name, 16)
        migrates_and_is_scraped(prometheus, guest, "a", here)
        assert [e["reason"] for e in here.events(guest, "downtime", "applied")] == ["ceiling"]
        wait_until(lambda: where() == [False, True], "it has moved")
        fields = {f["name"]: f for f in ask_far("show", guest.name)["fields"]}
        assert fields["max_downtime"]["value"] == "200ms"
        assert fields["max_downtime"]["source"] == "override set by uid 0"

        lab.virsh("b", "migrate-setspeed", guest.name, 16)
        with following(far, there, guest) as states:
            migrates_and_is_scraped(prometheus, guest, "b", there)
            wait_until(lambda: any(s["active"] for s in states()), "watch tells of it")
        events = ask_far("explain", guest.name)["events"]
        assert [e["reason"] for e in events if e["action"] == "downtime"] == ["ceiling"]
        (told,) = ask_far("history", guest.name)["migrations"]
        assert told["result"] == "completed"
        wait_until(lambda: where() == [True, False], "it is back")


def test_a_host_that_ssh_does_not_reach_is_told(far):
    failed = far("status", host=NOBODY, check=False)
    assert failed.returncode == 3, failed.stderr
    assert failed.stderr.splitlines()[-1] == f"migpolicy: cannot reach {NOBODY} by ssh"


def test_a_host_whose_key_is_another_one_is_not_asked(far):
    known = far.directory / "known-hosts"
    kept = known.read_text()
    known.write_text(f"{THERE} {(far.directory / 'user-key.pub').read_text()}")
    try:
        failed = far("status", check=False)
    finally:
        known.write_text(kept)
    assert failed.returncode == 3 and "Host key verification failed" in failed.stderr
