# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two migrations at once, and what the host allows them together."""

import errno
import time

import pytest

from lab import PATIENCE_S, Agent, Guest, wait_until

# It takes about half of the link to keep up with each; both have to begin with a sixth.
GREEDY = {"paced": 0.42, "hot": "1.3s"}


@pytest.fixture
def two(lab):
    with Guest(lab, **GREEDY) as one, Guest(lab, **GREEDY) as other:
        for guest in (one, other):
            lab.virsh("a", "migrate-setspeed", guest.name, round(lab.link_mib / 6))
        yield one, other


def is_throttled(guest):
    try:
        return guest.quota().quota > 0
    except OSError as e:
        if e.errno not in (errno.ENOENT, errno.ENODEV):  # it has left, perhaps just now
            raise
        return False


def speed(lab, guest):
    return int(lab.virsh("a", "migrate-getspeed", guest.name))


def test_two_migrations_share_the_bandwidth_the_host_allows(lab, two):
    link = lab.link_mib
    with Agent(lab, {"host_bandwidth": f"{link * 2 / 3:.0f}MiB/s"}) as agent:
        for guest in two:
            agent.set(guest, "--allow-bandwidth")
        clients = [guest.migrate() for guest in two]
        # What is needed shows pass by pass. A share that changes by less than a tenth is not written.
        wait_until(
            lambda: all(0.27 * link <= speed(lab, g) <= 0.4 * link for g in two),
            "each has its share",
        )
        assert all(agent.events(g, "bandwidth", "applied") for g in two)
        for guest in two:
            fields = {f["name"]: f for f in agent.query("show", guest.name)["fields"]}
            assert fields["max_bandwidth"]["source"] == "its part of host_bandwidth"
            assert agent.status(guest)["active"]
        for guest, client in zip(two, clients):
            guest.abort()
            assert client.wait(PATIENCE_S) != 0
        for guest in two:
            wait_until(lambda g=guest: speed(lab, g) == round(link / 6), "put back")


def test_only_as_many_guests_are_throttled_as_the_host_allows(lab):
    with (
        Agent(lab, {"max_throttled_domains": 1}) as agent,
        Guest(lab) as one,
        Guest(lab) as other,
    ):
        for guest in (one, other):
            agent.set(guest, "--allow-throttle", "--min-cpu", "10%")
        clients = [guest.migrate() for guest in (one, other)]
        wait_until(lambda: any(map(is_throttled, (one, other))), "one is throttled")
        while clients[0].poll() is None and clients[1].poll() is None:
            # The slot may pass from one to the other between two readings, but not back.
            assert not all(map(is_throttled, (one, other, one)))
            time.sleep(0.02)
