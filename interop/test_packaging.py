"""What is packaged beside the broker asks for metrics that it has."""

import os
import re
import subprocess
import sys
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
    asked = expressions.metrics()
    assert len(asked) >= 39, "the expressions were not found"
    assert sorted(asked - there - WHILE_LEAKING) == []


def test_labels_that_rules_choose_by_are_there(exposition):
    for sample in ('plimsoll_alarms{name="leak"} 0', 'plimsoll_clients{state="connected"} '):
        assert sample in exposition


def test_promtool_likes_the_metrics(exposition):
    done = subprocess.run(["promtool", "check", "metrics"], input=exposition, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
