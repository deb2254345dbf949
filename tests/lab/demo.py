# SPDX-License-Identifier: LGPL-2.1-or-later
"""The story tests/demo tells. Argument: a directory for the laboratory, to be created."""

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "system"))
from lab import PAGE_BYTES, PATIENCE_S, Agent, Guest, Lab, go_first  # noqa: E402

PERMISSION = ("--allow-throttle",)
# In terms of what the link carries, so that the story is the same on every machine: a first pass of
# five seconds, then passes of two, in which all that was sent is dirty again before they are over.
TIMES = 2.2
GUEST = {"dirties": TIMES, "hot": "2s", "memory": "5s"}


def say(text):
    print(f"demo: {text}", flush=True)


def mib(value):
    return "      -" if value is None else f"{value / 2**20:4.0f} MiB"


def account(status, events_told, events):
    """One line on where the migration stands, and a line for each new event."""
    m = status
    if m["active"]:
        print(
            f"  {m['elapsed_seconds']:5.1f} s  pass {m['iteration']:2d}  "
            f"remaining {mib(m['memory_remaining_bytes'])}  "
            f"dirty {mib(m['dirty_rate_bytes_per_second'])}/s  "
            f"transfer {mib(m['transfer_rate_bytes_per_second'])}/s  "
            f"cpu {m['cpu_limit_ratio'] * 100:3.0f}%  "
            f"{m['verdict']}: {m['next_action'] or m['reason_text']}",
            flush=True,
        )
    for e in events[events_told:]:
        by = f" [{e['approved_by']}]" if e["approved_by"] else ""
        print(
            f"  -> {e['elapsed_seconds']:5.1f} s  {e['action']} {e['result']}: {e['detail']}, "
            f"because {e['reason_text']}{by}",
            flush=True,
        )
    return len(events)


def follow(agent, guest, until, told=0):
    """Tells what happens until `until(status)`; returns that status, and how many events were told."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        status = agent.status(guest)
        if status:
            told = account(status, told, agent.query("explain", guest.name)["events"])
            if until(status):
                return status, told
        time.sleep(1)
    return None, told


def run(lab):
    say("starting two libvirt hosts, a and b; measuring how fast a guest and the link are here")
    lab.up()
    say(f"the link between them carries {lab.link_mib:.0f} MiB/s of guest memory")
    with Agent(lab) as agent, Guest(lab, **GUEST) as guest:
        time.sleep(5)
        speed = statistics.median(guest.speeds("a")[-3:])
        say(
            f"guest {guest.name} writes {guest.hot_mib()} of its {guest.memory_mib()} MiB over and "
            f"over, {speed * PAGE_BYTES / 2**20:.0f} MiB/s"
        )
        say(f"virsh migrate --live {guest.name}; no policy is set, so migpolicyd only observes")
        t0, before = guest.touches("a")
        client = guest.migrate()
        judged, told = follow(agent, guest, lambda m: m["verdict"] == "needs-help")
        if not judged:
            say("the migration was not judged in time")
            return 1
        say(f"the administrator allows: migpolicy set {guest.name} {' '.join(PERMISSION)}")
        agent.set(guest, *PERMISSION)
        ended, _ = follow(agent, guest, lambda m: not m["active"], told)
        if not ended or ended["result"] != "completed" or client.wait(PATIENCE_S) != 0:
            say("the migration did not end")
            return 1
        t1, after = guest.touches("b")
        lost = max((t1 - t0) - (after.total - before.total) / speed, 0)
        say("every page of the guest is checked twice on host b")
        guest.check_memory("b")
        agent.logs.clear()  # its account was ours
    say(
        f"converged in {ended['elapsed_seconds']:.1f} s, "
        f"downtime {ended['downtime_seconds'] * 1000:.0f} ms, "
        f"guest work lost {lost:.1f} s, guest memory intact"
    )
    return 0


def main():
    directory = Path(sys.argv[1])
    lab = Lab(directory)
    go_first()
    try:
        return run(lab)
    finally:
        lab.run("down", check=False)


if __name__ == "__main__":
    sys.exit(main())
