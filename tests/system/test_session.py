# SPDX-License-Identifier: LGPL-2.1-or-later
"""VMs of qemu:///session: libvirt, guest and agent are an unprivileged user's, and nothing has cgroups."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path

from lab import MIGPOLICY, MIGPOLICYD, PATIENCE_S, wait_until

GUEST = Path(__file__).resolve().parent.parent / "lab" / "guest" / "build"
NOBODY = 65534
DOMAIN = """
<domain type='qemu'>
  <name>vm1</name>
  <memory unit='MiB'>64</memory><vcpu>1</vcpu>
  <os><type machine='pc'>hvm</type><kernel>{dir}/guest.elf</kernel><cmdline>hot=24M pattern=pace rate=20M</cmdline></os>
  <features><acpi/></features>
  <devices>
    <serial type='file'><source path='{dir}/a/vm1.log'/></serial>
    <controller type='usb' model='none'/><memballoon model='none'/>
  </devices>
</domain>
"""


class Session:
    """A user's libvirt; the user is the same for all, their directories are not."""

    def __init__(self, directory, number):
        self.dir = directory
        self.env = {**os.environ, "HOME": str(directory)}
        for name, sub in (("XDG_RUNTIME_DIR", "run"), ("XDG_CONFIG_HOME", "config"), ("XDG_CACHE_HOME", "cache")):
            self.env[name] = str(directory / sub)
        for sub in ("run", "config/libvirt", "cache"):
            (directory / sub).mkdir(parents=True)
        (directory / "config/libvirt/libvirtd.conf").write_text(
            f'host_uuid = "00000000-0000-4000-8000-00000000000{number}"\n')
        (directory / "config/libvirt/qemu.conf").write_text('stdio_handler = "file"\n')  # no virtlogd stays
        (directory / "config/migpolicyd.json").write_text(
            json.dumps({"policy": {"allow_throttle": True, "max_downtime": "1s"}}))
        for path in (directory, *directory.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        (directory / "run").chmod(0o700)
        self.socket = directory / "run/libvirt/libvirt-sock"

    def start(self, *command):
        return subprocess.Popen(command, env=self.env, user=NOBODY, group=NOBODY, extra_groups=[],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def run(self, *command):
        return subprocess.run(command, env=self.env, user=NOBODY, group=NOBODY, extra_groups=[], text=True,
                              capture_output=True, timeout=PATIENCE_S)

    def end_guests(self):
        for path in (self.dir / "run/libvirt/qemu/run").glob("*.pid"):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(path.read_text()), signal.SIGKILL)


def test_a_guest_of_a_session_is_helped_by_all_but_a_throttle_which_is_told():
    with tempfile.TemporaryDirectory(prefix="migpolicy-") as name, contextlib.ExitStack() as stack:
        top = Path(name)
        top.chmod(0o755)
        subprocess.run([GUEST, top / "guest.elf"], check=True, capture_output=True)
        (top / "guest.elf").chmod(0o644)
        for sub in "ab":
            (top / sub).mkdir()
        a, b = Session(top / "a", 1), Session(top / "b", 2)

        def start(session, *command):
            process = session.start(*command)
            stack.callback(process.wait)
            stack.callback(process.terminate)

        for session in (a, b):
            start(session, "libvirtd", "-p", session.dir / "pid")
            stack.callback(session.end_guests)
            wait_until(session.socket.exists, "libvirtd listens")
        (top / "vm.xml").write_text(DOMAIN.format(dir=top))
        created = a.run("virsh", "-c", "qemu:///session", "create", top / "vm.xml")
        assert created.returncode == 0, created.stderr
        start(a, MIGPOLICYD, "--connect", "qemu:///session", "--config", a.dir / "config/migpolicyd.json",
              "--state-dir", a.dir / "state", "--run-dir", a.dir / "run/migpolicy",
              "--qemu-run-dir", a.dir / "run/libvirt/qemu/run", "--metrics-listen", "")
        start(a, "virsh", "-c", "qemu:///session", "migrate", "--live", "--p2p", "--bandwidth", "4",
              "--migrateuri", f"unix://{b.dir}/run/migration", "vm1", f"qemu+unix:///session?socket={b.socket}")

        def explained():
            done = a.run(MIGPOLICY, "--socket", a.dir / "run/migpolicy/io.migpolicy", "explain", "vm1", "--json")
            return json.loads(done.stdout) if done.returncode == 0 else {"events": [], "alternatives": []}

        wait_until(lambda: [e for e in explained()["events"] if (e["action"], e["result"]) == ("downtime", "applied")],
                   "its downtime limit is raised")
        told = explained()
        throttle = next(a for a in told["alternatives"] if a["kind"] == "throttle")
        assert throttle["approved"] and not throttle["works"]
        assert throttle["reason_text"] == "its vCPUs have no cgroups of their own that may be written"
        assert not [e for e in told["events"] if e["action"] == "throttle"]
