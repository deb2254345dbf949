# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the guides tell people to type is run, and the configuration that documents show is read."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess

import pytest
from simhost import BUILD, MIGPOLICY, PATIENCE_S, Host, domain

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def blocks(document, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", document.read_text(), re.S | re.M)


def run(script, cwd, **environment):
    """Its status and what it wrote; whatever it has left behind is ended."""
    process = subprocess.Popen(["bash", "-eu", "-c", script], cwd=cwd, start_new_session=True, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **environment})
    try:
        return process.communicate(timeout=PATIENCE_S)[0], process.returncode
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("guide,migrate,rest", [
    ("guide-libvirt.md", ["vm1", "web-1"], ["db-1"]), ("guide-openstack.md", ["instance-00000001"], ["instance-00000002"])])
def test_a_guide_does_what_it_says(guide, migrate, rest, tmp_path):
    vms = [domain(name) for name in migrate] + [domain(name, start="10h") for name in rest]
    config, = blocks(DOCS / guide, "json")
    with Host(vms, []) as host:
        host.wait(lambda: {m["vm"] for m in host.status()} == set(migrate))
        file = host.dir / "migpolicyd.json"
        file.write_text(config)
        scripts = blocks(DOCS / guide, "sh")
        assert scripts
        for script in scripts:
            script = re.sub(r"^migpolicy check\b", f"migpolicy check {file}", script, flags=re.M)
            output, status = run("PS4='$ '\nset -x\n" + script, tmp_path, MIGPOLICY_SOCKET=str(host.dir / "run/io.migpolicy"),
                                 PATH=f"{MIGPOLICY.parent}:{os.environ['PATH']}")
            assert status == 0, output
        sources = {f["source"] for name in migrate for f in json.loads(host.command("show", name, "--json"))["fields"]}
        assert any(str(file) in source for source in sources) == ("migpolicy reload" in "".join(scripts))


def test_the_hour_with_the_source_begins_as_told(tmp_path):
    (tmp_path / "build").symlink_to(BUILD)
    (tmp_path / "etc").symlink_to(ROOT / "etc")
    script, = blocks(DOCS / "guide-developer.md", "sh")
    output, status = run(script, tmp_path)
    assert status == 0, output
    assert "throttle applied" in output and "0 decided otherwise" in output, output
    for path in re.findall(r"`((?:agent|policy|cgroup-throttle)/[\w/.]+)`(?:: `(\w+)\(\)`)?", (DOCS / "guide-developer.md").read_text()):
        assert not path[1] or re.search(rf"\b{path[1]}\(", (ROOT / path[0]).read_text()), path


@pytest.mark.parametrize("document", sorted(d.name for d in DOCS.glob("*.md") if blocks(d, "json")))
def test_a_configuration_that_a_document_shows_is_valid(document, tmp_path):
    for text in blocks(DOCS / document, "json"):
        file = tmp_path / "shown.json"
        file.write_text(text)
        file.chmod(0o644)
        done = subprocess.run([MIGPOLICY, "check", file], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def shape(text):
    """Without its figures, and without the plot, which is made of them."""
    return [re.sub(r" +", " ", re.sub(r"\d+(\.\d+)?", "N", line)) for line in text.splitlines() if "|" not in line]


def test_the_example_in_the_manual_is_what_is_printed():
    manual = (DOCS / "migpolicy.1").read_text()
    command, shown = re.search(r"^\$ migpolicy (simulate .*?--plot)\n(.*?)^\.Ed", manual, re.S | re.M).groups()
    done = subprocess.run([MIGPOLICY, *command.replace("\\e\n", "").split()], capture_output=True, text=True, env={"LC_ALL": "C"})
    assert shape(done.stdout) == shape(shown)
    first = [re.findall(r"[\d.]+", text)[0] for text in (done.stdout, shown)]
    assert float(first[0]) == pytest.approx(float(first[1]), rel=0.02)
