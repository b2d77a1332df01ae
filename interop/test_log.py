"""The log as JSON, as a collector reads it."""

import json
import os
import re
import signal
import time

import pytest

import broker as brokers
import stock
from raw import Raw

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own format")

# A broker that root has started could not read a test's files again after it became another user.
STAY = "user root\n" if os.geteuid() == 0 else ""
FILTERS = 20_000
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def objects(text):
    return [json.loads(line) for line in text.splitlines()]


def test_each_line_is_an_object_with_whom_it_is_about(tmp_path):
    path = tmp_path / "log.json"
    config = f"{STAY}log_format json\nlog_type all\nlog_dest file {path}\nlog_timestamp false"
    with brokers.Broker(config=config) as broker:
        name = 'sensor "7"'
        with stock.Client(broker.port, name) as client:
            client.subscribe("plant/#")
            deadline = time.monotonic() + 5
            while "plant/#" not in path.read_text() and time.monotonic() < deadline:
                time.sleep(0.02)
    lines = objects(path.read_text())
    assert len(lines) > 5
    for line in lines:
        assert TIME.fullmatch(line["time"]), line
        assert line["level"] in ("error", "warning", "notice", "information", "debug")
        assert line["message"] and set(line) <= {"time", "level", "type", "message", "client", "peer", "listener"}
    place = f"port {broker.port}"
    (connected,) = [line for line in lines if line["message"].startswith("New client connected from")]
    assert connected["client"] == name and connected["listener"] == place and connected["peer"].startswith("127.0.0.1:")
    (subscribed,) = [line for line in lines if line["type"] == "subscribe"]
    assert subscribed["client"] == name and subscribed["level"] == "information"
    accepted = [line for line in lines if line["message"].startswith("New connection from")]
    assert accepted[-1]["listener"] == place and "client" not in accepted[-1]
    assert "client" not in lines[0] and "starting" in lines[0]["message"]


def test_a_reload_changes_the_format():
    with brokers.Broker(config=STAY) as broker:
        assert brokers.logged(broker, "running")
        text = broker.config.read_text()
        broker.config.write_text("log_format json\n" + text)
        broker.signal(signal.SIGHUP)
        assert brokers.logged(broker, "Reloading config.")
        with stock.Client(broker.port, "second"):
            assert brokers.logged(broker, '"client":"second"')
        broker.config.write_text(text)
        broker.signal(signal.SIGHUP)
        time.sleep(0.3)
        with stock.Client(broker.port, "third"):
            assert brokers.logged(broker, " as third (")
    assert '"client":"third"' not in broker.log_text()


def test_the_report_of_many_filters_is_whole():
    """More lines than the log keeps for a slow destination, and the memory behind them."""
    with brokers.Broker(config=STAY) as broker:
        many = Raw(broker.port, "many", clean=True)
        for first in range(0, FILTERS, 1000):
            many.subscribe(0, *(f"plant/{first + number}" for number in range(1000)))
        broker.signal(signal.SIGUSR2)
        assert brokers.logged(broker, "resident in the process", 20)
        text = broker.log_text()
        assert len(re.findall(r": plant/\d+ \(1\)\n", text)) == FILTERS
        assert f": {FILTERS} topic filters.\n" in text and "dropped" not in text
