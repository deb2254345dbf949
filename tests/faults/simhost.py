# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real migpolicyd on a simulated host (migpolicyd-sim). Also used by tests/bench."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request

BUILD = pathlib.Path(os.environ.get("MIGPOLICY_BUILD", "build")).resolve()
PATIENCE_S = 240
MIGPOLICYD = BUILD / "agent/migpolicyd-sim"
MIGPOLICY = BUILD / "agent/migpolicy"


def domain(name, *, hot="200MiB", rate="210MB/s", link="800Mbit/s", ram="512MiB", zero="200MiB",
           start="1s", busy="100%", **more):
    """A domain of a scenario (agent/sim/scenario.h); as it stands, one that needs help."""
    return {
        "name": name, "start": start, "link": {"rate": link},
        "guest": {"ram": ram, "zero": zero, "busy": busy,
                  "regions": [{"size": hot, "rate": rate}]},
        **more,
    }


def calm(name, **more):
    """One that ends by itself."""
    return domain(name, hot="20MiB", rate="10MB/s", **more)


class Guest:
    """In groups as libvirt's; its quotas are the kernel's. `arguments` are those of tests/faults/campaign."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([BUILD / "tests/faults/campaign", *arguments],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.mount = self.process.stdout.readline().strip()

    def may_not_be(self):
        """No cgroups may be made here."""
        return not self.mount and self.process.wait() == 77

    def how(self):
        """as found, slow, or gone"""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def is_slow(self):
        return self.how() == "slow"

    def kill(self):
        self.process.stdin.write("k")
        self.process.stdin.flush()

    def remove(self):
        self.process.stdin.close()
        assert self.process.wait() == 0


class Host:
    """migpolicyd, watching a scenario. `rules` and `config` are its configuration.

    `wrapper` is put before its command; `listen` is where it serves over HTTP.
    """

    def __init__(self, domains, rules, time_factor=10, state_dir=None, config=None, wrapper=(),
                 listen="127.0.0.1:0", program=MIGPOLICYD, **scenario):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="migpolicy-"))
        self.time_factor = time_factor
        self.wrapper = wrapper
        self.listen = listen
        self.program = program
        self.process = None
        self.record = self.dir / "record"
        self.state_dir = state_dir or self.dir / "state"
        self.names = {d.get("uuid", f"51310000-0000-4000-8000-{i:012x}"): d["name"]
                      for i, d in enumerate(domains, 1)}
        (self.dir / "scenario.json").write_text(json.dumps(
            {"time_factor": time_factor, "log": str(self.record), "domains": domains,
             **scenario}))
        (self.dir / "migpolicyd.json").write_text(json.dumps({**(config or {}), "rules": rules}))
        self.log_file = open(self.dir / "log", "wb")

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        """Again, after it has ended: on the same directories."""
        said = len(self.log())
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *self.wrapper, self.program, "--connect", f"sim:{self.dir}/scenario.json",
             "--config", self.dir / "migpolicyd.json", "--state-dir", self.state_dir,
             "--run-dir", self.dir / "run", "--metrics-listen", self.listen],
            stderr=self.log_file)
        self.wait(lambda: "metrics at " in self.log()[said:] and
                  "connected to libvirt" in self.log()[said:] and self.is_serving())
        port = re.search(r"metrics at port (\d+)", self.log()[said:])
        self.port = port and int(port.group(1))

    def is_serving(self):
        """A socket that is there need not be listened on yet."""
        return subprocess.run([MIGPOLICY, "--socket", self.dir / "run/io.migpolicy", "status", "-q"],
                              capture_output=True).returncode == 0

    def __exit__(self, *_):
        self.stop()
        self.log_file.close()
        shutil.rmtree(self.dir)

    def stop(self):
        """The exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def log(self):
        return (self.dir / "log").read_text()

    def wait(self, condition):
        """However slow the machine: what is waited for ends the wait, and is returned."""
        end = time.monotonic() + PATIENCE_S
        while not (result := condition()):
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < end, self.log()[-3000:]
            time.sleep(0.02)
        return result

    def works(self):
        """How many threads do what a request asked for."""
        works = 0
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/comm"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                works += task.read_text().strip() == "work"
        return works

    def events(self, what=None, name=None):
        """What happened on the simulated host, by its own record: the truth."""
        lines = self.record.read_text().splitlines() if self.record.exists() else []
        found = [json.loads(line) for line in lines]
        return [{**e, "name": self.names.get(e["uuid"])} for e in found
                if what in (None, e["what"]) and name in (None, self.names.get(e["uuid"]))]

    def completed(self):
        return {e["name"] for e in self.events("completed")}

    def tried(self, *args):
        return subprocess.run([MIGPOLICY, "--socket", self.dir / "run/io.migpolicy", *args],
                              capture_output=True, text=True, timeout=PATIENCE_S)

    def command(self, *args):
        done = self.tried(*args)
        assert done.returncode == 0, f"{args}: {done.stderr}"
        return done.stdout

    def status(self, *args):
        return json.loads(self.command("status", "--json", *args))["migrations"]

    def scrape(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=PATIENCE_S) as reply:
            return reply.read().decode()

    def metric(self, name):
        return float(re.search(rf"^{re.escape(name)} (\S+)$", self.scrape(), re.M).group(1))


def throttled_span(vm, rules, time_factor):
    """When a healthy run of this domain is throttled, from and to, in the scenario's seconds."""
    with Host([vm], rules, time_factor=time_factor) as host:
        host.wait(host.completed)
        shares = host.events("cpu_share")
        assert len(shares) >= 2 and shares[0]["value"] < 1, "it was to need a throttle"
        return shares[0]["seconds"], next(e["seconds"] for e in shares if e["value"] == 1)
