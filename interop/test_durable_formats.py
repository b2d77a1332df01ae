"""Data directories of earlier releases: every one that was ever made is opened."""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

import broker as brokers

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own state")
FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("data-*.tar.gz"))


def received(broker, *arguments):
    """What mosquitto_sub prints within a second or two."""
    run = ["mosquitto_sub", "-p", str(broker.port), "-W", "2", *arguments]
    return subprocess.run(run, capture_output=True, text=True, timeout=20).stdout.splitlines()


def test_there_is_a_fixture():
    assert FIXTURES


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.name)
def test_an_older_data_directory_is_opened(fixture, tmp_path):
    with tarfile.open(fixture) as packed:
        packed.extractall(tmp_path, filter="data")
    directory = tmp_path / fixture.name.removesuffix(".tar.gz")
    user = "user root\n" if os.geteuid() == 0 else ""
    with brokers.Broker(config=f"{user}persistence true\npersistence_location {directory}") as broker:
        retained = received(broker, "-V", "5", "-t", "fix/retained/#", "-F", "%t %p %P")
        assert sorted(line.strip() for line in retained) == [
            "fix/retained/one first key:value",
            "fix/retained/one/below second",
            "fix/retained/two third",
        ]
        queued = received(broker, "-i", "fixed", "-c", "-q", "2", "-t", "fix/q/#", "-F", "%q %p")
        # mosquitto_sub prints a QoS 2 message when it is released, so behind the QoS 1 ones.
        assert {line[:10] for line in queued} == {f"{number % 2 + 1} queued {number}" for number in range(1, 6)}
        assert len(queued) == 5
        with_identifier = received(broker, "-V", "5", "-i", "fixed5", "-c", "-x", "10", "-q", "1", "-t", "other", "-F", "%S %p")
        assert [line[:10] for line in with_identifier] == [f"7 queued {number}" for number in range(1, 6)]
        group = received(broker, "-V", "5", "-i", "shared5", "-c", "-x", "10", "-q", "1", "-t", "other")
        assert group == ["for one of the group"]
        assert "damaged" not in broker.log_text()
