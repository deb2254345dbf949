# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bad input and missing rights: one line that says what is wrong, and an exit status."""

import json

import pytest

from lab import PATIENCE_S, Agent, Guest


@pytest.fixture(scope="module")
def agent(lab):
    with Agent(lab) as running:
        yield running


def check_refused(done, status, *words):
    assert done.returncode == status, done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("verb", [("show",), ("explain",), ("set", "--allow-throttle")])
def test_an_unknown_vm_is_not_found(agent, verb):
    check_refused(agent.cli(verb[0], "nosuch", *verb[1:]), 4, "nosuch")


@pytest.mark.parametrize("value", ["2", "-1s", "1e400s", "2sec", "99999999999999999999s", ""])
def test_a_malformed_duration_is_refused_with_what_would_be_right(agent, guest, value):
    check_refused(agent.cli("set", guest.name, "--max-downtime", value), 2, f'"{value}"')
    sources = {f["source"] for f in agent.query("show", guest.name)["fields"]}
    assert sources == {"default"}


def test_setting_is_all_or_nothing(agent, guest):
    check_refused(agent.cli("set", guest.name, "--allow-throttle", "--min-cpu", "20"), 2, "20")
    sources = {f["source"] for f in agent.query("show", guest.name)["fields"]}
    assert sources == {"default"}


def test_without_a_daemon_the_socket_is_unreachable(agent):
    check_refused(agent.cli("status", "--socket", "/nonexistent"), 3, "is it running")


def test_an_unprivileged_user_may_not_set(agent, guest):
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    check_refused(agent.cli("set", guest.name, "--allow-throttle", prefix=nobody), 5)
    # Not even one who may connect.
    mode = agent.socket.stat().st_mode
    agent.socket.chmod(0o666)
    try:
        assert agent.cli("status", prefix=nobody).returncode == 0
        check_refused(
            agent.cli("set", guest.name, "--allow-throttle", prefix=nobody), 5, "not permitted"
        )
    finally:
        agent.socket.chmod(mode)


@pytest.mark.parametrize(
    ("text", "mode", "where"),
    [
        pytest.param('{\n "policy": {\n  "max_downtime": 2}}', 0o644, ":3: /policy/max_downtime"),
        pytest.param('{\n "policy": {"allow_everything": "yes"}}', 0o644, ":2: /policy/allow"),
        pytest.param('{\n "rules": [}', 0o644, ":2:"),
        pytest.param('{"policy": {}, "policy": {}}', 0o644, ":1:"),
        pytest.param("{}", 0o666, "writable"),
        pytest.param(None, 0o644, "No such file"),
    ],
    ids=["bare-number", "unknown-key", "malformed", "twice", "writable-by-others", "missing"],
)
def test_a_bad_configuration_is_refused_and_check_agrees(lab, agent, text, mode, where):
    other = Agent(lab)
    if text is None:
        other.config.unlink()
    else:
        other.config.write_text(text)
        other.config.chmod(mode)
    check_refused(other.run(), 1, str(other.config), where)
    checked = agent.cli("check", other.config)
    assert checked.returncode != 0
    check_refused(checked, checked.returncode, str(other.config), where)
    assert checked.stderr.split(":", 1)[1] == other.run("--check").stderr.split(":", 1)[1]


def test_a_good_configuration_is_in_force_and_named_as_the_source(lab, guest):
    rules = [{"name": "vm*", "min_memory": "1MiB", "max_vcpus": 64,
              "policy": {"max_downtime": "2s", "allow_throttle": "yes"}}]
    with Agent(lab, {"rules": rules}) as agent:
        assert agent.cli("check", agent.config).returncode == 0
        fields = {f["name"]: f for f in agent.query("show", guest.name)["fields"]}
        assert fields["max_downtime"]["value"] == "2s"
        assert fields["max_downtime"]["source"] == (
            f"{agent.config}/rules/0, by name vm*, memory, vcpus")
        assert fields["mode"]["value"] == "enforce"


def test_a_stored_policy_survives_a_restart(lab, guest):
    with Agent(lab) as agent:
        agent.set(guest, "--max-downtime", "2s")
        before = agent.query("show", guest.name)
        assert agent.stop() == 0
        agent.start()
        assert agent.query("show", guest.name) == before


def test_a_corrupt_store_is_kept_aside_and_reported(lab, guest):
    with Agent(lab) as agent:
        agent.set(guest, "--max-downtime", "2s")
        agent.kill()
        store = agent.directory / "state/overrides.json"
        store.write_text(corrupt := store.read_text()[:-5])
        agent.start()
        assert len(agent.find("overrides.json: .*kept as overrides.json.bad")) == 1
        kept = list(store.parent.glob("overrides.json.bad*"))
        assert [k.read_text() for k in kept] == [corrupt]
        agent.set(guest, "--max-downtime", "3s")
        assert json.loads(store.read_text())["vms"]


def test_a_policy_set_by_name_goes_to_the_vm_that_has_the_name_now(lab, agent):
    with Guest(lab, "hot=1M", memory="64M") as first:
        agent.set(first, "--allow-throttle")
        assert first.migrate().wait(PATIENCE_S) == 0
    with Guest(lab, "hot=1M", memory="64M", name=first.name) as second:
        agent.set(second, "--max-downtime", "2s")
        uuid = lab.virsh("a", "domuuid", second.name)
        assert agent.query("show", second.name)["uuid"] == uuid
