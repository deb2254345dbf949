# SPDX-License-Identifier: LGPL-2.1-or-later
"""Many migrations at once, on a simulated host."""

from simhost import Host, calm, domain

POLICIES = {
    "slow": {"allow_throttle": True, "min_cpu": "20%"},
    "late": {"max_downtime": "3s"},
    "both": {"allow_throttle": True, "min_cpu": "40%", "max_downtime": "1s"},
    "drop": {"allow_cancel": True, "deadline": "40s"},
    "look": {"mode": "observe", "allow_throttle": True, "max_downtime": "3s"},
}
RULES = [{"name": f"{kind}-*", "policy": policy} for kind, policy in POLICIES.items()]


def test_two_hundred_all_end_and_only_as_their_policies_allow():
    domains = [domain(f"{list(POLICIES)[i % 5]}-{i}", start=f"{1000 + i * 37}ms")
               for i in range(150)]
    domains += [calm(f"calm-{i}", start=f"{1000 + i * 41}ms") for i in range(50)]
    names = {d["name"] for d in domains}
    may_end = {n for n in names if not n.startswith(("drop", "look"))}

    with Host(domains, RULES, time_factor=5) as host:
        host.wait(lambda: host.completed() >= may_end and
                  len(host.events("cancelled")) == 30)
        for e in host.events():
            kind = (e["name"] or "").split("-")[0]
            policy = POLICIES.get(kind, {})
            if e["what"] == "cpu_share":
                assert kind in ("slow", "both"), e
                assert e["value"] >= float(policy["min_cpu"].rstrip("%")) / 100 - 1e-9, e
            elif e["what"] == "set_downtime":
                assert kind in ("late", "both"), e
                assert e["value"] <= float(policy["max_downtime"].rstrip("s")), e
            elif e["what"] == "cancelled":
                assert kind == "drop", e
            elif e["what"] == "downtime" and kind == "slow":
                assert e["value"] < 0.5, e
        last = {e["name"]: e["value"] for e in host.events("cpu_share")}
        assert last and all(share == 1 for share in last.values())
        assert {e["name"] for e in host.events("cancelled")} == {n for n in names if "drop" in n}
        assert host.stop() == 0
