# SPDX-License-Identifier: LGPL-2.1-or-later
"""What somebody new to it tries first."""

import json
import subprocess

from simhost import MIGPOLICY, Host, domain

UUID = "51310000-0000-4000-8000-000000000001"


def test_a_uuid_names_a_vm_with_and_without_saying_that_it_is_one():
    with Host([domain("vm", start="0s")], []) as host:
        for name in (UUID, UUID.upper(), f"uuid:{UUID}"):
            host.command("set", name, "--allow-throttle=true")
            assert "yes" in host.command("show", "vm")
            host.command("unset", "vm", "--all")


def test_a_raised_speed_limit_is_told_in_whole_mib():
    policy = {"allow_bandwidth": True, "max_bandwidth": "177155041B/s"}
    with Host([domain("vm", speed_limit="30MB/s", link="10Gbit/s")],
              [{"name": "*", "policy": policy}]) as host:
        host.wait(lambda: host.events("set_speed"))
        host.wait(lambda: "speed limit 169 MiB/s" in host.log())


def test_check_warns_of_a_pattern_that_does_not_match_its_own_name(tmp_path):
    config = tmp_path / "c.json"
    for name, warned in (("web[prod]", True), ("web[0-9]", False), ("web\\[prod]", False),
                         ("web*", False), ("[a-z]*", False)):
        config.write_text(json.dumps({"rules": [{"name": name, "policy": {}}]}))
        config.chmod(0o644)
        run = subprocess.run([MIGPOLICY, "check", config], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert ("does not match a VM of that very name" in run.stderr) == warned, name
