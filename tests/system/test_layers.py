# SPDX-License-Identifier: LGPL-2.1-or-later
"""The policy in a domain's own metadata, with a real libvirt; overrides that end by themselves."""

import os
import subprocess
import time

from lab import LAB, PATIENCE_S, UNLIMITED, Agent, Guest, wait_until
from test_input import check_refused

URI = "urn:migpolicy:policy:1"
NOVA = LAB.parent / "nova"
NOVA_URI = "http://openstack.org/xmlns/libvirt/nova/1.1"
THROTTLE = {"policy": {"allow_throttle": "yes", "max_downtime": "2s"}}


def fields(agent, guest):
    return {f["name"]: (f["value"], f["source"]) for f in agent.query("show", guest.name)["fields"]}


def test_metadata_is_written_when_idle_and_read_from_libvirt(lab, agent, guest):
    done = agent.cli(
        "set", guest.name, "--scope=metadata", "--mode", "observe", "--label", "db web"
    )
    assert done.returncode == 0, done.stderr
    written = lab.virsh("a", "metadata", guest.name, "--uri", URI)
    assert 'mode="observe"' in written and 'label="db web"' in written
    assert f'<migpolicy:policy xmlns:migpolicy="{URI}"' in lab.virsh("a", "dumpxml", guest.name)
    done = agent.cli("unset", guest.name, "--scope=metadata", "--all")
    assert done.returncode == 0, done.stderr
    assert URI not in lab.virsh("a", "dumpxml", guest.name)


def test_metadata_that_somebody_else_sets_is_noticed(lab, guest):
    rules = [{"label": "db", "policy": {"patience": "7s"}}]
    with Agent(lab, {**THROTTLE, "rules": rules}) as agent:
        for text, name, value in (
            ("<policy label='db'/>", "patience", "7s"),
            ("<policy min_cpu='60%'/>", "min_cpu", "60%"),
            ("<policy nonsense='1'/>", "mode", "observe"),
        ):
            lab.virsh("a", "metadata", guest.name, "--uri", URI, "--key", "x", "--set", text)
            wait_until(lambda: fields(agent, guest)[name][0] == value, text)
        assert "nonsense" in agent.query("show", guest.name)["metadata_error"]
        assert len(agent.find("nonsense: unknown attribute")) == 1


def test_metadata_is_refused_during_a_migration_and_forbids_there_what_it_forbids(lab, guest):
    with Agent(lab, THROTTLE) as agent:
        assert (
            agent.cli(
                "set", guest.name, "--scope=metadata", "--allow-throttle=no", "--max-downtime=none"
            ).returncode
            == 0
        )
        guest.migrate()
        wait_until(lambda: agent.status(guest), "the migration is seen")
        started = time.monotonic()
        done = agent.cli("set", guest.name, "--scope=metadata", "--mode=observe")
        assert time.monotonic() - started < 25  # libvirt itself would have waited for 30
        check_refused(done, 6, "migration")
        wait_until(
            lambda: agent.status(guest)["verdict"] in ("needs-help", "hopeless"), "a verdict"
        )
        assert guest.quota() == UNLIMITED
        guest.abort()


def as_nova_writes_it(*names):
    """By Nova's own code, but without the namespace, which virsh metadata adds again."""
    modules = subprocess.run([NOVA / "build"], text=True, stdout=subprocess.PIPE, check=True)
    written = subprocess.run(
        ["/usr/bin/python3", NOVA / "metadata", *names],
        env={**os.environ, "PYTHONPATH": modules.stdout.strip()},
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    return written.replace(f' xmlns:nova="{NOVA_URI}"', "").replace("nova:", "")


def test_metadata_travels_and_narrows_on_the_next_host(lab):
    """And what Nova writes of it selects the same rules there, whatever it calls itself."""
    rules = [
        {"flavor": "m1.*", "project": "shop", "policy": {"patience": "7s"}},
        {"instance_name": "m1.*", "policy": {"allow_cancel": "yes"}},
    ]
    with Guest(lab, "hot=1M", memory="64M") as guest, Agent(lab, {"rules": rules}) as agent, Agent(
        lab, {**THROTTLE, "rules": rules}, host="b"
    ) as other:
        text = as_nova_writes_it("m1.tiny", "m1.large", "shop")
        lab.virsh("a", "metadata", guest.name, "--uri", NOVA_URI, "--key", "nova", "--set", text)
        wait_until(lambda: fields(agent, guest)["patience"][0] == "7s", "the rule selects it")
        agent.cli("set", guest.name, "--scope=metadata", "--min-cpu=70%", "--max-downtime=10s")
        assert guest.migrate().wait(PATIENCE_S) == 0
        wait_until(lambda: other.cli("show", guest.name).returncode == 0, "it is known over there")
        wait_until(
            lambda: fields(other, guest)["min_cpu"] == ("70%", "domain metadata"), "narrowed"
        )
        assert fields(other, guest)["max_downtime"][0] == "2s"
        value, source = fields(other, guest)["patience"]
        assert value == "7s" and source.endswith("/rules/0, by flavor m1.*, project shop")
        assert fields(other, guest)["allow_cancel"][0] == "no"


def test_an_override_expires_during_a_migration(lab, guest):
    with Agent(lab, {"policy": {"allow_throttle": "yes"}}) as agent:
        agent.set(guest, "--mode", "observe", "--expires", "10s")
        started = time.monotonic()
        guest.migrate()
        agent.wait_throttled(guest)
        assert time.monotonic() - started > 9
