"""What is packaged beside the broker asks for metrics that it has."""

import os
import re
import subprocess
import sys
import time
import urllib.request

import pytest

import broker as brokers
from pki import Authority

sys.path.insert(0, str(brokers.ROOT / "packaging"))
import expressions  # noqa: E402

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own metrics")

# A broker that root has started could not read a test's files again after it became another user.
STAY = "user root\n" if os.geteuid() == 0 else ""

# Only there while the broker leaks, which a test of names does not wait for.
WHILE_LEAKING = {"plimsoll_memory_leak_bytes_per_hour", "plimsoll_memory_leak_since_timestamp_seconds"}

# Of watch: only there when the target leaks or grows, when its source counts connections, when something is pushed.
WATCH_SOMETIMES = {
    "plimsoll_watch_leak_bytes_per_hour",
    "plimsoll_watch_limit_reached_seconds",
    "plimsoll_watch_growth_bytes_per_hour",
    "plimsoll_watch_connected_total",
    "plimsoll_watch_push_dropped_total",
}


@pytest.fixture(scope="module")
def exposition(tmp_path_factory):
    """The text at /metrics of a broker in which everything is on."""
    directory = tmp_path_factory.mktemp("packaging")
    authority = Authority(directory, "root")
    certificate, key = authority.issue("server", names=["localhost"])
    lists = directory / "lists.pem"
    lists.write_text(authority.revocation_list())
    http, tls = brokers.free_port(), brokers.free_port()
    config = f"""{STAY}persistence true
persistence_location {directory}/data
memory_limit 1073741824
listener {http} 127.0.0.1
protocol http_api
allow_anonymous true
listener {tls} 127.0.0.1
certfile {certificate}
keyfile {key}
cafile {authority.certificate}
require_certificate true
crlfile {lists}
"""
    with brokers.Broker(config=config):
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=10) as answer:
            yield answer.read().decode()


def test_every_metric_of_rules_and_dashboard_is_there(exposition):
    there = set(re.findall(r"^([a-z0-9_]+)(?:\{| )", exposition, re.M))
    asked = expressions.metrics(expressions.RULES, expressions.DASHBOARD)
    assert len(asked) >= 39, "the expressions were not found"
    assert sorted(asked - there - WHILE_LEAKING) == []


def test_every_metric_of_the_rules_and_dashboard_of_watch_is_there():
    port = brokers.free_port()
    with brokers.Broker(config="sys_interval 1\n") as broker:
        source = f"mosquitto=mqtt://127.0.0.1:{broker.port}"
        command = [brokers.program(), "watch", "--pid", str(broker.process.pid), "--accounts", source]
        watch = subprocess.Popen([*command, "--listen", f"127.0.0.1:{port}"], stderr=subprocess.DEVNULL)
        try:
            exposition = answered(f"http://127.0.0.1:{port}/metrics", "plimsoll_watch_published_total{")
        finally:
            watch.terminate()
            watch.wait(10)
    there = set(re.findall(r"^([a-z0-9_]+)(?:\{| )", exposition, re.M))
    asked = expressions.metrics(expressions.WATCH_RULES, expressions.WATCH_DASHBOARD)
    assert len(asked) >= 15, "the expressions were not found"
    assert sorted(asked - there - WATCH_SOMETIMES) == []
    done = subprocess.run(["promtool", "check", "metrics"], input=exposition, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def answered(url, wanted, seconds=20):
    """The text at an address, as soon as this is in it."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            text = ""
        if wanted in text or time.monotonic() > deadline:
            assert wanted in text, text
            return text
        time.sleep(0.2)


def test_labels_that_rules_choose_by_are_there(exposition):
    for sample in ('plimsoll_alarms{name="leak"} 0', 'plimsoll_clients{state="connected"} '):
        assert sample in exposition


def test_promtool_likes_the_metrics(exposition):
    done = subprocess.run(["promtool", "check", "metrics"], input=exposition, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
