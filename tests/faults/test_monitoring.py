# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is delivered for Prometheus and Grafana, tried on a Prometheus that has scraped migrations."""

import contextlib
import json
import pathlib
import re
import signal
import subprocess
import time
import urllib.parse
import urllib.request

import pytest
from simhost import PATIENCE_S, Host, calm, domain

ROOT = pathlib.Path(__file__).resolve().parents[2]
RULES = ROOT / "etc/prometheus/migpolicy.rules.yml"
DASHBOARD = json.loads((ROOT / "etc/grafana/migpolicy.json").read_text())
PANELS = [p for p in DASHBOARD["panels"] if p["type"] != "row"]
EXPRESSIONS = {t["expr"]: p["title"] for p in PANELS for t in p["targets"]}
INTERVAL_S = 0.25  # forecasts are known for a moment
VARIABLES = {"job": "migpolicy", "instance": ".*", "vm": ".*", "__rate_interval": "10s", "__range": "10m"}
# Grafana's names of the units that are used here.
UNITS = {"short", "s", "bytes", "Bps", "percentunit", "reqps"}


class Prometheus:
    """Scrapes hosts, each second, with the rules that are delivered."""

    def __init__(self, directory, hosts):
        self.directory = directory
        self.started = time.time()
        targets = [f"127.0.0.1:{h.port}" for h in hosts]
        (directory / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": f"{int(INTERVAL_S * 1000)}ms", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "migpolicy", "static_configs": [{"targets": targets}]}]}))

    def __enter__(self):
        self.log = open(self.directory / "log", "wb")
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "prometheus", f"--config.file={self.directory}/prometheus.yml",
             f"--storage.tsdb.path={self.directory}/data", "--web.listen-address=127.0.0.1:0"],
            stderr=self.log)
        self.address = self.wait(lambda: re.search(r'msg="Listening on" address=(\S+)', self.said()) or
                                 re.search(r'http2=\S+ address=(\S+)', self.said())).group(1)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_S)
        self.log.close()

    def said(self):
        return (self.directory / "log").read_text()

    def wait(self, condition):
        end = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            assert self.process.poll() is None, self.said()[-3000:]
            assert time.monotonic() < end, self.said()[-3000:]
            time.sleep(0.1)
        return found

    def get(self, what, **parameters):
        url = f"http://{self.address}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with contextlib.suppress(ConnectionError, urllib.error.URLError):
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as reply:
                return json.load(reply)["data"]
        return {}

    def series(self, expression):
        """What an expression has come to since the start."""
        for name, value in VARIABLES.items():
            expression = expression.replace("$" + name, value)
        return self.get("query_range", query=expression, start=self.started, end=time.time(),
                        step=INTERVAL_S).get("result", [])


@pytest.fixture(scope="module")
def scraped(tmp_path_factory):
    """A Prometheus that has seen a throttle, a question, migrations that end, and one that does not."""
    rules = [{"name": "throttled", "policy": {"allow_throttle": "yes", "min_cpu": "10%"}},
             {"name": "asks", "policy": {"allow_throttle": "ask"}}]
    vms = [domain("throttled", start="4s"), domain("asks"), domain("stuck"),
           domain("settles", start="4s", ram="1GiB", zero="0B", hot="800MiB", rate="75MB/s"), calm("calm")]
    ended = ("throttled", "settles", "calm")
    with Host(vms, rules, time_factor=2) as host:
        with Prometheus(tmp_path_factory.mktemp("prometheus"), [host]) as prometheus:
            last = "migpolicy_last_migration_duration_seconds"
            prometheus.wait(lambda: {s["metric"]["vm"] for s in prometheus.series(last)} >= set(ended))
            host.command("pause", "stuck")
            prometheus.wait(lambda: prometheus.series('migpolicy_migration_paused{vm="stuck"} == 1'))
            host.command("resume", "stuck")
            yield prometheus


def test_each_expression_of_the_dashboard_shows_something(scraped):
    assert not [(title, e) for e, title in EXPRESSIONS.items() if not scraped.series(e)]


def test_a_legend_tells_series_apart_and_leaves_no_label_empty(scraped):
    for panel in PANELS:
        if panel["type"] == "table":
            continue
        legends = []
        for target in panel["targets"]:
            wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            for series in scraped.series(target["expr"]):
                assert wanted <= set(series["metric"]), (panel["title"], target["expr"])
                legends.append(re.sub(r"{{(\w+)}}", lambda m: series["metric"][m[1]], target["legendFormat"]))
        assert len(legends) == len(set(legends)), (panel["title"], legends)


def test_the_alerts_are_understood_and_the_open_question_fires(scraped):
    def rules():
        return [r for g in scraped.get("rules").get("groups", []) for r in g["rules"]]

    scraped.wait(lambda: rules() and all(r["health"] == "ok" for r in rules()))
    firing = {r["name"]: {a["labels"].get("vm") for a in r["alerts"] if a["state"] == "firing"} for r in rules()}
    assert "asks" in firing["MigrationAwaitsAnswer"]
    assert not firing["MigpolicyRestoreFailed"] and not firing["MigpolicyJournalsOutstanding"]


def test_the_dashboard_is_whole():
    assert DASHBOARD["uid"] == "migpolicy" and DASHBOARD["schemaVersion"] >= 36
    ids = [p["id"] for p in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    assert [p["title"].split(":")[0] for p in DASHBOARD["panels"] if p["type"] == "row"] == ["Fleet", "Host", "VM"]
    known = {v["name"] for v in DASHBOARD["templating"]["list"]} | {"__rate_interval", "__range"}
    taken = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    for panel in PANELS:
        assert panel["title"] and panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert [t["refId"] for t in panel["targets"]] == [chr(ord("A") + i) for i in range(len(panel["targets"]))]
        for target in panel["targets"]:
            assert target["legendFormat"] and target["datasource"] == panel["datasource"]
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= known, target["expr"]


def test_a_unit_is_that_of_what_is_shown():
    ends = {"s": ("seconds",), "bytes": ("bytes",), "Bps": ("per_second",), "percentunit": ("ratio", "seconds_total")}
    for panel in PANELS:
        unit = panel["fieldConfig"]["defaults"]["unit"]
        if unit not in ends or panel["type"] == "table":
            continue
        for target in panel["targets"]:
            first = re.search(r"((?:migpolicy|process)_\w+)", target["expr"])[1].removesuffix("_bucket")
            assert first.endswith(ends[unit]) or "rate_bytes_per_second" in target["expr"], target["expr"]


def test_each_alert_has_a_runbook_and_each_runbook_an_alert():
    rules = RULES.read_text()
    alerts = re.findall(r"- alert: (\w+)", rules)
    urls = re.findall(r'runbook_url: "file:///usr/share/doc/migpolicy/runbooks\.md#(\w+)"', rules)
    assert urls == [a.lower() for a in alerts]
    sections = re.split(r"^## ", (ROOT / "docs/runbooks.md").read_text(), flags=re.M)[1:]
    assert [s.split("\n")[0] for s in sections] == alerts
    for section in sections:
        assert re.findall(r"^- \*\*(\w+)\.\*\*", section, re.M) == ["Meaning", "Impact", "Diagnosis", "Mitigation"], section


def test_the_scrape_configuration_is_understood():
    done = subprocess.run(["promtool", "check", "config", ROOT / "etc/prometheus/scrape.yml"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
