# SPDX-License-Identifier: LGPL-2.1-or-later
"""A VM that has migrated before is known, across restarts of the daemon."""

import json
import subprocess

from simhost import MIGPOLICY, Host, calm, domain

RULES = [{"name": "*", "policy": {"allow_throttle": True}}]


def migrate(state_dir, vm):
    """Returns the first thing done to it, with what was known then, and the migration's trace."""
    with Host([vm], RULES, state_dir=state_dir) as host:
        host.wait(lambda: "migration completed" in host.log())
        assert host.stop() == 0
    last = json.loads((state_dir / "history.jsonl").read_text().splitlines()[-1])
    return last, state_dir / "traces" / last["trace"]


def test_the_second_time_a_guest_is_helped_at_its_first_sync(tmp_path):
    first, _ = migrate(tmp_path, domain("vm"))
    assert first["events"][0]["iteration"] > 2
    assert first["learned"]["plateau"]
    again, trace = migrate(tmp_path, domain("vm"))
    assert [again["events"][0][k] for k in ("action", "iteration")] == ["throttle", 2]
    assert '{"prior":' in trace.read_text().splitlines()[1]
    done = subprocess.run([MIGPOLICY, "replay", "--json", trace], capture_output=True, text=True)
    assert json.loads(done.stdout)["differing"] == 0


def test_a_guest_that_does_something_else_by_now_is_left_alone(tmp_path):
    migrate(tmp_path, domain("vm"))
    again, _ = migrate(tmp_path, calm("vm"))
    assert again["events"] == []
