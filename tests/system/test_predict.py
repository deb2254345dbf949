# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Predicted before, and then migrated: an idle guest, one that ends by a longer downtime, one that
takes a throttle. QEMU compares 512 pages of each GiB, 256 of the smaller guests here.
"""

import json
import subprocess
import time

import pytest

from lab import MIGPOLICY, Guest, wait_until

CASES = {
    "calm": ("hot=20M pattern=pace rate=10M", "512M", []),
    "raised": ("hot=200M", "512M", ["--max-downtime", "4s"]),
    "slowed": ("hot=350M", "1G", ["--allow-throttle"]),
}


def predict(agent, guest, *flags):
    done = subprocess.run(
        [MIGPOLICY, "--socket", agent.socket, "--json", "predict", guest.name, *flags],
        text=True,
        capture_output=True,
        timeout=120,
    )
    return done, json.loads(done.stdout) if done.returncode == 0 else None


@pytest.mark.parametrize("case", CASES)
def test_the_total_time_comes_within_a_quarter(lab, agent, case):
    cmdline, memory, flags = CASES[case]
    with Guest(lab, cmdline, memory) as guest:
        if flags:
            agent.set(guest, *flags)
        time.sleep(1)
        done, told = predict(agent, guest, "--bandwidth=95MB/s")
        assert done.returncode == 0, done.stderr
        policy = next(c for c in told["courses"] if c["kind"] == "policy")
        assert policy["outcome"] == "completed", told
        assert guest.migrate().wait(90) == 0
        seconds = agent.status(guest)["elapsed_seconds"]
        print(f"{case}: told {policy['elapsed_seconds']:.1f} s, took {seconds:.1f} s;",
              f"downtime {policy['downtime_seconds']:.2f} s, {guest.downtime_seconds():.2f} s")
        assert policy["elapsed_seconds"] == pytest.approx(seconds, rel=0.25), told
        assert {a["action"] for a in policy["actions"]} == {
            e["action"] for e in agent.events(guest) if e["action"] != "release"
        }


def test_a_migrating_guest_is_not_measured(lab, agent, guest):
    guest.migrate()
    wait_until(guest.is_migrating, 10, "it migrates")
    done, _ = predict(agent, guest, "--bandwidth=95MB/s")
    assert (done.returncode, "is migrating" in done.stderr) == (6, True)
    guest.abort()
