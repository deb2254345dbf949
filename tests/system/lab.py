# SPDX-License-Identifier: LGPL-2.1-or-later
"""Thin wrappers: the laboratory, the daemon under test, and a guest."""

import contextlib
import json
import logging
import os
import re
import subprocess
import threading
import time
from collections import namedtuple
from itertools import count
from pathlib import Path
from urllib.parse import quote

LAB = Path(__file__).resolve().parent.parent / "lab" / "lab"
BUILD = Path(os.environ.get("MIGPOLICY_BUILD", "build")).resolve()
MIGPOLICYD = BUILD / "agent" / "migpolicyd"
MIGPOLICY = BUILD / "agent" / "migpolicy"

# How long is waited for what must come, however slow the machine. What it is waited for ends the
# wait; no test passes or fails by how soon that was.
PATIENCE_S = 240

log = logging.getLogger("lab")
numbers = count(1)

Report = namedtuple("Report", "t pages total bad sweeps")
Quota = namedtuple("Quota", "quota period")
UNLIMITED = Quota(-1, 100000)
PAGE_BYTES = 4096


def wait_until(condition, why, timeout=PATIENCE_S):
    """Returns what `condition` returns once that is true."""
    end = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < end, f"not within {timeout} s: {why}"
        time.sleep(0.05)
    return result


def go_first():
    """
    Puts this process and what it starts before what else runs on the machine, as the laboratory's
    hosts are: else guests that take all the CPU there is would hold up those who watch them.
    """
    # Each is a courtesy: without it only a busy machine is slower. Root in a container may not
    # raise a priority, and a session that init started has no autogroup of its own (EINVAL). In a
    # session of its own it takes nobody with it: a whole session that goes first starves the kernel.
    with contextlib.suppress(OSError):
        os.setsid()
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("-15")


class Lab:
    def __init__(self, directory):
        self.directory = Path(directory)
        self.env = {**os.environ, "LAB_DIR": str(directory)}

    def up(self):
        """Brings up what is not, and takes the calibration."""
        self.say(self.run("up"))

    def say(self, done):
        """What lab has to say beside its answer: that it calibrates again."""
        for line in done.stderr.splitlines():
            log.info(line)

    @property
    def link_mib(self):
        """What the link carries of guest memory, in MiB/s."""
        # Whichever guest it was taken with: all of them belong to the link as it is.
        said = next(self.directory.glob("calibration-*")).read_text()
        return float(re.search(r"carried_bps='?(\d+)", said)[1]) / 2**20

    def run(self, *args, check=True, timeout=2 * PATIENCE_S):
        done = subprocess.run(
            [LAB, *map(str, args)], env=self.env, text=True, capture_output=True, timeout=timeout
        )
        assert not check or done.returncode == 0, f"lab {args}: {done.stderr}{done.stdout}"
        return done

    def spawn(self, *args, **options):
        return subprocess.Popen([LAB, *map(str, args)], env=self.env, text=True, **options)

    def virsh(self, host, *args, check=True):
        return self.run("virsh", host, "-q", *args, check=check).stdout.strip()

    def curl(self, url):
        return self.run("exec", "a", "curl", "-sS", "--max-time", PATIENCE_S, url).stdout

    def new_directory(self):
        directory = self.directory / f"test{next(numbers)}"
        directory.mkdir()
        return directory

    def libvirtd(self, host):
        return int((self.directory / host / "run/libvirtd.pid").read_text())


class Output(threading.Thread):
    """The lines a process writes, with the time each came."""

    def __init__(self, stream):
        super().__init__(daemon=True)
        self.stream = stream
        self.lines = []
        self.start()

    def run(self):
        for line in self.stream:
            self.lines.append((time.time(), line.rstrip("\n")))

    def find(self, pattern):
        return [(at, line) for at, line in list(self.lines) if re.search(pattern, line)]

    def text(self):
        return "\n".join(line for _, line in list(self.lines))


class Agent:
    """
    migpolicyd with directories of its own. `wrapper` is put before its command; `address` is where it
    serves metrics.
    """

    def __init__(self, lab, config=None, wrapper=(), host="a", address="127.0.0.1"):
        self.lab = lab
        self.host = host
        self.wrapper = wrapper
        self.address = address
        self.directory = lab.new_directory()
        self.config = self.directory / "config.json"
        self.config.write_text(json.dumps(config or {}))
        self.socket = self.directory / "run/io.migpolicy"
        self.process = None
        self.logs = []

    def __enter__(self):
        self.start()
        wait_until(lambda: self.find("connected to libvirt"), "connection to libvirt")
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                print("migpolicyd did not stop")
        for output in self.logs:
            output.join(PATIENCE_S)
            print(output.text())

    def command(self, *options):
        directory = self.directory
        return [
            *("exec", self.host, *self.wrapper, MIGPOLICYD, "--config", self.config),
            *("--state-dir", directory / "state", "--run-dir", directory / "run", *options),
        ]

    def start(self):
        """Starts it, until it serves its socket."""
        self.process = self.lab.spawn(
            *self.command("--metrics-listen", f"{self.address}:0"), stderr=subprocess.PIPE
        )
        self.log = Output(self.process.stderr)
        self.logs.append(self.log)
        wait_until(self.is_serving, "the socket is served")

    def is_serving(self):
        assert self.process.poll() is None, f"migpolicyd ended: {self.log.text()}"
        return self.socket.exists() and self.cli("status", "-q").returncode == 0

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def stop(self):
        """The exit status."""
        self.process.terminate()
        return self.process.wait(PATIENCE_S)

    def run(self, *options):
        """Runs it to its end."""
        return self.lab.run(*self.command(*options), check=False)

    def find(self, pattern):
        """Lines of the log since the last start, as (time, line)."""
        return self.log.find(pattern)

    def cli(self, *args, prefix=()):
        return subprocess.run(
            [*prefix, MIGPOLICY, "--socket", self.socket, *map(str, args)],
            text=True,
            capture_output=True,
            timeout=PATIENCE_S,
        )

    def query(self, *args):
        done = self.cli("--json", *args)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def set(self, guest, *flags):
        done = self.cli("set", guest.name, *flags)
        assert done.returncode == 0, done.stderr

    def status(self, guest):
        """The guest's current or last migration, or None."""
        everything = self.query("status", "--all")["migrations"]
        return next((m for m in everything if m["vm"] == guest.name), None)

    def ended(self, guest):
        """
        The migration's status once the agent knows that it has ended. Its client may know that
        before: what the agent says about the end is to be read from here.
        """
        return wait_until(
            lambda: (status := self.status(guest)) and not status["active"] and status,
            "the agent sees the end",
        )

    def events(self, guest, action=None, result=None):
        if not self.status(guest):
            return []
        return [
            e
            for e in self.query("explain", guest.name)["events"]
            if action in (None, e["action"]) and result in (None, e["result"])
        ]

    def wait_throttled(self, guest):
        """Waits until its quota is in force; returns the event that says so."""
        return wait_until(lambda: self.events(guest, "throttle", "applied"), "throttled")[0]

    def served_at(self):
        return f"{self.address}:" + re.search(r"metrics at port (\d+)", self.log.text())[1]

    def metrics(self):
        return self.lab.curl(f"http://{self.served_at()}/metrics")

    def metric(self, name):
        """The sum of all series of this name; None if there is none."""
        values = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", self.metrics(), re.M)
        return sum(map(float, values)) if values else None

    def own_memory(self):
        """What it holds for itself, in bytes: without the pages of libraries shared with others."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        assert "Name:\tmigpolicyd\n" in status
        return int(re.search(r"^RssAnon:\s+(\d+) kB$", status, re.M)[1]) * 1024


class Prometheus:
    """One that runs on host a and scrapes agents, twice a second."""

    def __init__(self, lab, *agents):
        self.lab = lab
        self.directory = lab.new_directory()
        targets = [agent.served_at() for agent in agents]
        self.config = self.directory / "prometheus.yml"
        self.config.write_text(json.dumps({
            "global": {"scrape_interval": "500ms"},
            "scrape_configs": [{"job_name": "migpolicy", "static_configs": [{"targets": targets}]}],
        }))

    def __enter__(self):
        self.process = self.lab.spawn(
            *("exec", "a", "prometheus", f"--config.file={self.config}", "--log.level=error"),
            *(f"--storage.tsdb.path={self.directory}/data", "--web.listen-address=127.0.0.1:9090"),
        )
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(PATIENCE_S)

    def ask(self, expression):
        """The labels of the series that there are now, or None as long as it does not answer."""
        url = f"http://127.0.0.1:9090/api/v1/query?query={quote(expression)}"
        said = self.lab.run("exec", "a", "curl", "-gsS", url, check=False).stdout
        if not said:
            return None
        answer = json.loads(said)
        assert answer["status"] == "success", answer
        return [series["metric"] for series in answer["data"]["result"]]


def cpu_hierarchy():
    """Where the cpu controller is mounted."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    v1 = [m[1] for m in mounts if m[2] == "cgroup" and "cpu" in m[3].split(",")]
    return Path((v1 or [m[1] for m in mounts if m[2] == "cgroup2"])[0])


def read_quota(group):
    if (group / "cpu.max").exists():
        quota, period = (group / "cpu.max").read_text().split()
        return Quota(-1 if quota == "max" else int(quota), int(period))
    return Quota(*(int((group / f"cpu.cfs_{f}_us").read_text()) for f in ("quota", "period")))


class QuotaWatch(threading.Thread):
    """Every quota seen in the domain's own group ("") and in the groups below it."""

    def __init__(self, group):
        super().__init__(daemon=True)
        below = sorted(p.name for p in group.iterdir() if p.is_dir())
        self.groups = {name: group / name for name in ["", *below]}
        self.seen = {name: [] for name in self.groups}
        self.ended = threading.Event()
        self.start()

    def run(self):
        # A quota and its period cannot be read, nor always written, at once: only what is found
        # twice in a row counts.
        before = {}
        while not self.ended.wait(0.005):
            for name, group in self.groups.items():
                try:
                    now = read_quota(group)
                except OSError:
                    return  # the guest is gone
                if before.get(name) == now and (not self.seen[name] or self.seen[name][-1] != now):
                    self.seen[name].append(now)
                before[name] = now

    def stop(self):
        self.ended.set()
        self.join()
        return self.seen


class Guest:
    """
    A test guest on host a. Its dirtying is stated as a multiple of what the link carries: as fast as
    its CPU allows (`dirties`), at a pace of its own (`paced`), or asleep between writes (`sleeping`);
    its sizes as what the link carries in a time ("1.2s"). Unless told otherwise it never converges by
    itself, and does with a fifth of its CPU. With a `cmdline` alone nothing of it is calibrated.
    """

    def __init__(
        self, lab, cmdline="", hot=None, memory=None, vcpus=1, quota=None, global_quota=None,
        disk=None, name=None, **dirtying
    ):
        self.lab = lab
        self.name = name or f"vm{next(numbers)}"
        self.vcpus = vcpus
        self.quota_set = quota or global_quota
        if not dirtying and not cmdline:
            dirtying = {"dirties": 2.5}
        ((self.how, self.times),) = dirtying.items() or ((None, None),)
        self.options = ["--cmdline", cmdline, "--vcpus", vcpus]
        if self.how:
            self.options += [f"--{self.how}", self.times]
            hot, memory = hot or "1.2s", memory or "2s"
        self.options += ["--hot", hot] if hot else []
        self.options += ["--memory", memory or "256M"]
        if quota:
            self.options += ["--cputune-quota", quota.quota, "--cputune-period", quota.period]
        if global_quota:
            self.options += ["--cputune-global-quota", global_quota.quota]
        self.options += ["--disk", disk] if disk else []
        self.clients = []
        self.reports_at_rest = None

    def __enter__(self):
        self.lab.say(self.lab.run("guest", "a", self.name, *self.options))
        for task in Path(f"/proc/{self.pid('a')}/task").iterdir():
            if (task / "comm").read_text().startswith("CPU 0/"):
                lines = [x.split(":", 2) for x in (task / "cgroup").read_text().splitlines()]
        path = next((p for _, c, p in lines if "cpu" in c.split(",")), lines[-1][2])
        self.vcpu0 = cpu_hierarchy() / path.lstrip("/")
        self.group = self.vcpu0.parent
        return self

    def __exit__(self, *_):
        best = self.best_times_link()
        for host in "ab":
            self.lab.virsh(host, "destroy", self.name, check=False)
        for client in self.clients:
            client.wait(PATIENCE_S)
        if best is not None:
            log.info("%s: to make %s times the link, made %.2f", self.name, self.times, best)
            assert best > 0.5 * self.times, (
                f"this machine is too busy for the test to mean anything: {self.name} was to dirty "
                f"{self.times} times what the link carries, and never made more than {best:.2f}"
            )

    def best_times_link(self):
        """Of the seconds in which it migrated, the best; None where there is nothing to compare."""
        if not self.how or self.reports_at_rest is None or self.quota_set:
            return None
        speeds = self.speeds("a")[self.reports_at_rest :]
        return max(speeds) * PAGE_BYTES / 2**20 / self.lab.link_mib if len(speeds) > 1 else None

    def memory_mib(self):
        return (
            int(self.lab.virsh("a", "dominfo", self.name).split("Max memory:")[1].split()[0])
            // 1024
        )

    def hot_mib(self):
        ready = (self.lab.directory / "a/run/lab" / f"{self.name}.log").read_text()
        return int(re.search(r"^ready .* hot=(\d+)", ready)[1]) * PAGE_BYTES // 2**20

    def pid(self, host):
        path = self.lab.directory / host / "run/libvirt/qemu" / f"{self.name}.pid"
        return int(path.read_text())

    def migrate(self, *options):
        """Starts a migration from a to b; returns the client's process."""
        if self.reports_at_rest is None:
            self.reports_at_rest = len(self.reports("a"))
        client = self.lab.spawn(
            *("migrate", self.name, *options),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.clients.append(client)
        return client

    def is_migrating(self):
        return "Outgoing migration" in self.lab.virsh("a", "domjobinfo", self.name, check=False)

    def abort(self):
        self.lab.virsh("a", "domjobabort", self.name)
        wait_until(lambda: not self.is_migrating(), "the migration is cancelled")

    def quota(self):
        return read_quota(self.vcpu0)

    def downtime_limit_ms(self):
        return int(re.search(r"\d+", self.lab.virsh("a", "migrate-getmaxdowntime", self.name))[0])

    def downtime_seconds(self):
        """Of the completed migration, as libvirt on the destination tells it."""
        info = self.lab.virsh("b", "domjobinfo", self.name, "--completed")
        return int(re.search(r"Total downtime:\s+(\d+)", info)[1]) / 1000

    def reports(self, host):
        log = self.lab.directory / host / "run/lab" / f"{self.name}.log"
        pattern = r"^t=(\S+) (?:pages|ops)=(\d+) total=(\d+) bad=(\d+) sweeps=(\d+)$"
        found = re.findall(pattern, log.read_text() if log.exists() else "", re.M)
        return [Report(float(t), *map(int, rest)) for t, *rest in found]

    def touches(self, host):
        """The guest's own next report, and when it came."""
        count = len(self.reports(host))
        wait_until(lambda: len(self.reports(host)) > count, "the guest reports")
        return time.monotonic(), self.reports(host)[-1]

    def speeds(self, host):
        reports = self.reports(host)
        return [(b.total - a.total) / (b.t - a.t) for a, b in zip(reports, reports[1:])]

    def wait_full_speed(self, host):
        """
        Waits for a second that compares with those before anything was done to the guest. One still
        held back to the default floor of 20% has none; one on a busy machine has, in time.
        """
        full = max(self.speeds("a"))
        before = len(self.speeds(host))
        wait_until(
            lambda: max(self.speeds(host)[before + 1 :], default=0) > 0.6 * full,
            f"full speed on {host}, {full:.0f} touches/s",
        )

    def check_memory(self, host):
        """Waits for two whole sweeps of the memory that find nothing wrong."""
        before = wait_until(lambda: self.reports(host), f"a report on {host}")[0]
        wait_until(lambda: self.reports(host)[-1].sweeps >= before.sweeps + 2, f"sweeps on {host}")
        assert self.reports(host)[-1].bad == 0


class LinuxGuest(Guest):
    """
    A guest that runs Linux and a program people use (tests/lab/linux/workloads.sh), so its speed is
    its own. How much the program writes to is stated against the link, as with any guest.
    """

    def __init__(self, lab, workload, hot=None, vcpus=1, slow_flush_s=None):
        super().__init__(lab, f"workload={workload}", vcpus=vcpus)
        self.options = ["--linux", workload, "--vcpus", vcpus, *(["--hot", hot] if hot else [])]
        self.options += ["--slow-flush", slow_flush_s] if slow_flush_s else []

    def migrate(self, *options):
        # Both hosts see the disk, but it does not look so to libvirt.
        return super().migrate("--unsafe", *options)
