# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Migrations that Nova's own code starts and steers, with and without migpolicyd beside it. Its options
are the smallest that nova.conf takes: for a guest of up to 2 GiB a step of the downtime limit every
6 s, from 50 to 500 ms, and the completion timeout times two.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from lab import LAB, PATIENCE_S, UNLIMITED, Guest, QuotaWatch

NOVA = LAB.parent / "nova"
STEPS = ["live_migration_downtime_delay=3"]
ABORT = ["live_migration_completion_timeout=5"]
FORCE = [*ABORT, "live_migration_timeout_action=force_complete"]
# Longer than is waited for anything.
NO_TIMEOUT = [f"live_migration_completion_timeout={PATIENCE_S}"]


@pytest.fixture(scope="session")
def modules():
    done = subprocess.run([NOVA / "build"], text=True, stdout=subprocess.PIPE, check=True)
    return Path(done.stdout.strip())


@pytest.fixture
def nova(lab, modules):
    """Runs Nova until its migration has ended; returns how, and what it logged."""

    def migrate(guest, *options):
        uris = [lab.run("uri", host).stdout.strip() for host in "ab"]
        done = subprocess.run(
            ["/usr/bin/python3", NOVA / "migrate", guest.name, *uris, *STEPS, *options],
            env={**os.environ, "PYTHONPATH": str(modules)},
            text=True,
            capture_output=True,
            timeout=2 * PATIENCE_S,
        )
        print(done.stderr)
        lab.virsh("b", "undefine", guest.name, check=False)
        return done.stdout.strip(), done.stderr

    return migrate


AS_DELIVERED = """
import json
import nova.conf
from types import SimpleNamespace
from nova.virt.libvirt import driver, migration
nova.conf.CONF([], project="nova", default_config_files=[])
options = nova.conf.CONF.libvirt
small = SimpleNamespace(flavor=SimpleNamespace(memory_mb=512))
gib = driver.LibvirtDriver._live_migration_data_gb(None, small, [])
print(json.dumps({
    "gib": gib,
    "steps": list(migration.downtime_steps(gib)),
    "timeout": options.live_migration_completion_timeout,
    "action": options.live_migration_timeout_action,
}))
"""


def test_nova_as_delivered_is_as_told(modules):
    """In docs/platforms.md."""
    told = json.loads(subprocess.run(
        ["/usr/bin/python3", "-c", AS_DELIVERED],
        env={**os.environ, "PYTHONPATH": str(modules)},
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout)
    assert told["steps"][0] == [0, 50] and told["steps"][-1][1] == 500
    assert told["steps"][1][0] == 75 * told["gib"] and told["gib"] == 2
    assert (told["timeout"], told["action"]) == (800, "abort")


def test_nova_alone_aborts_a_guest_that_does_not_converge(agent, guest, nova):
    outcome, told = nova(guest, *ABORT)
    assert outcome in ("failed", "cancelled")
    assert "Increasing downtime to 50 ms" in told
    assert not agent.events(guest, result="applied")


@pytest.mark.parametrize(
    ("policy", "way"),
    [
        pytest.param(["--allow-throttle"], "yield", id="throttle-yield"),
        pytest.param(["--max-downtime", "4s"], "hold", id="downtime-hold"),
    ],
)
def test_what_nova_alone_would_abort_ends_within_policy(agent, guest, nova, policy, way):
    agent.set(guest, *policy, "--on-other-writer", way)
    outcome, told = nova(guest, *NO_TIMEOUT)
    assert outcome == "completed"
    assert "Increasing downtime to 50 ms" in told
    assert agent.events(guest, result="applied")


def test_a_migration_that_nova_forces_is_left_to_it(agent, guest, nova):
    outcome, told = nova(guest, *FORCE)
    assert outcome == "completed"
    assert "Live migration not completed after" in told
    assert not agent.events(guest, result="applied")


def test_a_migration_that_ends_under_nova_alone_is_not_disturbed(lab, agent, nova):
    with Guest(lab, dirties=2, hot="0.02s") as guest:
        agent.set(guest, "--max-downtime", "4s", "--allow-throttle", "--allow-cancel")
        watch = QuotaWatch(guest.group)
        outcome, _ = nova(guest, *NO_TIMEOUT)
        assert outcome == "completed"
        assert agent.ended(guest)
        assert watch.stop()["vcpu0"] == [UNLIMITED]
        assert agent.events(guest) == []
