# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Predicted before, and then migrated: an idle guest, one that ends by a longer downtime, one that
takes a throttle. QEMU compares 512 pages of each GiB, 256 of the smaller guests here.
"""

import json
import subprocess
import time

import pytest

from lab import MIGPOLICY, PATIENCE_S, Guest, wait_until

CASES = {
    "calm": ({"paced": 0.1, "hot": "0.2s", "memory": "4s"}, []),
    "raised": ({"dirties": 2.2, "hot": "2.2s", "memory": "4s"}, ["--max-downtime", "4s"]),
    "slowed": ({"dirties": 2.2, "hot": "2.6s", "memory": "5s"}, ["--allow-throttle"]),
}


def predict(agent, guest, *flags):
    done = subprocess.run(
        [MIGPOLICY, "--socket", agent.socket, "--json", "predict", guest.name, *flags],
        text=True,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    return done, json.loads(done.stdout) if done.returncode == 0 else None


@pytest.mark.parametrize("case", CASES)
def test_what_is_foretold_is_what_comes(lab, agent, case):
    dirtying, flags = CASES[case]
    with Guest(lab, **dirtying) as guest:
        if flags:
            agent.set(guest, *flags)
        time.sleep(1)
        done, told = predict(agent, guest, f"--link={lab.link_mib:.0f}MiB/s")
        assert done.returncode == 0, done.stderr
        policy = next(c for c in told["courses"] if c["kind"] == "policy")
        assert policy["outcome"] == "completed", told
        assert guest.migrate().wait(PATIENCE_S) == 0
        seconds = agent.ended(guest)["elapsed_seconds"]
        print(
            f"{case}: told {policy['elapsed_seconds']:.1f} s, took {seconds:.1f} s;",
            f"downtime {policy['downtime_seconds']:.2f} s, {guest.downtime_seconds():.2f} s",
        )
        assert seconds / 2 < policy["elapsed_seconds"] < 2 * seconds, told
        assert {a["action"] for a in policy["actions"]} == {
            e["action"] for e in agent.events(guest) if e["action"] != "release"
        }


def test_a_migrating_guest_is_not_measured(lab, agent, guest):
    guest.migrate()
    wait_until(guest.is_migrating, "it migrates")
    done, _ = predict(agent, guest, f"--link={lab.link_mib:.0f}MiB/s")
    assert (done.returncode, "is migrating" in done.stderr) == (6, True)
    guest.abort()
