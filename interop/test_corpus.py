"""Malformed and abusive inputs, and the answers that the specification requires.

One test for each case of `corpus/*.toml` and protocol version; `dialog.py` describes the language.
After every case the broker must still serve others. For plimsoll every case is mandatory; for any
other broker (`INTEROP_BROKER=mosquitto`) a difference is reported as an expected failure.

A case has

    name        unique in its file
    statements  what it shows, as cited in docs/mqtt-conformance.md
    protocols   protocol levels to play it with: 3 (3.1), 4 (3.1.1), 5
    script      the dialog
    config      global directives of mosquitto.conf that it needs (default: none)
    listener    directives that it needs for its listener (default: none)
    only        the one broker it is for, where it needs a directive that others do not have
"""

import tomllib
from pathlib import Path

import pytest

import broker as brokers
from dialog import Dialog, Unexpected

CORPUS = Path(__file__).resolve().parent / "corpus"
PACKETS = tomllib.loads((CORPUS / "packets.toml").read_text())

WITNESS = """
> $connect(witness)
< CONNACK 00
> 82 { 0001 'witness' 00 }
< SUBACK 00
> 30 { 'witness' "still here" }
< 30 { 'witness' "still here" }
> E0 00
closed
"""


def packets(version):
    """Packets by name for a protocol level; levels 3 and 4 share most."""
    return PACKETS["any"] | PACKETS["v5" if version == 5 else "v3"] | PACKETS.get(f"level{version}", {})


def cases():
    """Every case of every file with every version."""
    for path in sorted(CORPUS.glob("*.toml")):
        for case in tomllib.loads(path.read_text()).get("case", []):
            for version in case["protocols"]:
                yield pytest.param(case, version, id=f"{path.stem}/{case['name']}/level {version}")


@pytest.fixture(scope="module")
def broker_with():
    """Gives a running broker with a configuration; equal configurations share one."""
    running = {}

    def give(config, listener):
        broker = running.get((config, listener))
        if broker is None or not broker.alive():
            broker = running[config, listener] = brokers.Broker(config, listener=listener).start()
        return broker

    yield give
    for broker in running.values():
        broker.stop()
        broker.remove()


def play(broker, case, version):
    """Plays the case, then shows that the broker lives and serves others."""
    Dialog(broker.port, version, packets(version)).play(case["script"])
    assert broker.alive(), f"the broker died:\n{broker.log_text()}"
    Dialog(broker.port, 4, packets(4)).play(WITNESS)


@pytest.mark.parametrize(("case", "version"), list(cases()))
def test_corpus(case, version, broker_with):
    """The broker answers as required, and others do not notice."""
    if case.get("only", brokers.name()) != brokers.name():
        pytest.skip(f"only for {case['only']}")
    broker = broker_with(case.get("config", ""), case.get("listener", ""))
    if brokers.name() == "plimsoll":
        play(broker, case, version)
        return
    try:
        play(broker, case, version)
    except (Unexpected, AssertionError, OSError) as difference:
        pytest.xfail(f"differs: {str(difference).splitlines()[-1]}")
