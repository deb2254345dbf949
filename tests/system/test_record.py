# SPDX-License-Identifier: LGPL-2.1-or-later
"""What stays of a real migration: how it ended, and who approved what was done to it."""

import json
import subprocess

from lab import MIGPOLICY, PATIENCE_S, wait_until


def test_a_helped_migration_is_waited_for_and_stays_on_record(agent, guest):
    assert agent.cli("wait", guest.name).returncode == 6
    agent.set(guest, "--allow-throttle")
    client = guest.migrate("--parallel")
    wait_until(lambda: agent.query("status", guest.name)["migrations"], "it is seen")
    waiting = subprocess.run(
        [MIGPOLICY, "--socket", agent.socket, "wait", guest.name, "--timeout", f"{PATIENCE_S}s"],
        text=True,
        capture_output=True,
        timeout=PATIENCE_S + 10,
    )
    assert waiting.returncode == 0, waiting.stderr
    assert waiting.stdout.startswith(f"{guest.name}: completed after")
    assert client.wait(PATIENCE_S) == 0

    audit = agent.directory / "state/audit.jsonl"
    found = [json.loads(line) for line in audit.read_text().splitlines()]
    throttle = next(e for e in found if e["action"] == "throttle")
    assert throttle["vm"] == guest.name and throttle["result"] == "applied"
    assert "uid 0" in throttle["approved_by"]
    assert throttle["memory_remaining_bytes"] > 0
    assert found[0]["action"] == "set" and found[0]["by"] == "uid 0"

    assert agent.stop() == 0
    agent.start()
    (ended,) = agent.query("history", guest.name)["migrations"]
    assert ended["result"] == "completed"
    assert ended["downtime_seconds"] == guest.downtime_seconds()
    assert ended["throttled_seconds"] > 0
    assert [e["action"] for e in ended["events"]][:1] == ["throttle"]
