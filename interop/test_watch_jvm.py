"""A JVM's own figures: Debian's Netty behind Debian's Jolokia, and what Micrometer would say of it; EMQX's and HiveMQ's words."""

import json
import urllib.request

import pytest

import broker as brokers
from netty import BUFFER, LIMIT, Platform, compiled
from services import Service
from watching import Watch, sleeper

pytestmark = [pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own tool"), pytest.mark.xdist_group("jvm")]

FORGOTTEN = 2000
FIXTURES = brokers.ROOT / "interop" / "fixtures"


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("classes"))


@pytest.fixture(scope="module", params=[True, False], ids=["counted by Netty", "counted by the JVM"])
def platform(request, classes):
    with Platform(classes, counter=request.param) as platform:
        platform.counter = request.param
        platform.talk(FORGOTTEN, forgotten=True)
        yield platform


def look(directory, pid, *accounts, wanted=("direct_bytes", "heap_used_bytes")):
    """A look at a process with these sources, as soon as it has these figures."""
    flags = ["--pid", pid, "--name", "it", "--every", "100ms", *accounts]
    with Watch(directory, *flags) as watch:
        line = watch.await_line(lambda line: line.keys() >= set(wanted))
        assert watch.end() == 0, watch.output
    return line


def truth(platform):
    """What the server itself knows: the JVM's pool, and Netty's counter."""
    with urllib.request.urlopen(platform.url("/netty"), timeout=5) as answer:
        netty = json.load(answer)["used"]
    with urllib.request.urlopen(platform.url("/actuator/prometheus"), timeout=5) as answer:
        lines = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#"))
    return float(lines['jvm_buffer_memory_used_bytes{id="direct"}']), netty


def test_jolokia_and_netty_s_counter_together_know_each_byte_once(platform, tmp_path):
    pool, netty = truth(platform)
    assert (netty >= FORGOTTEN * BUFFER) == platform.counter and (pool >= FORGOTTEN * BUFFER) != platform.counter
    said = look(tmp_path, platform.process.pid, "--accounts", f"jolokia={platform.url()}", "--accounts", f"json={platform.url('/netty')}",
                "--map", "direct=/used", "--map", "direct_limit=/limit", "--map", "published_total=/messages",
                wanted=["direct_bytes", "heap_used_bytes", "published_total"])  # fmt: skip
    # Netty says -1 where it does not count, which is no figure.
    assert said["direct_bytes"] == pytest.approx(pool + max(netty, 0), rel=0.02)
    assert FORGOTTEN * BUFFER <= said["direct_bytes"] < 1.3 * FORGOTTEN * BUFFER
    assert 1 << 20 < said["heap_used_bytes"] < said["heap_committed_bytes"] <= 64 << 20
    assert said["direct_limit_bytes"] == LIMIT and said["published_total"] == FORGOTTEN
    assert said["extras"]["jvm_threads"] > 5


def test_actuator_s_two_meters_of_the_same_memory_are_not_added(platform, tmp_path):
    pool, netty = truth(platform)
    said = look(tmp_path, platform.process.pid, "--accounts", f"actuator={platform.url()}")
    assert said["direct_bytes"] == pytest.approx(max(pool, netty), rel=0.02)
    assert FORGOTTEN * BUFFER <= said["direct_bytes"] < 1.3 * FORGOTTEN * BUFFER
    assert 1 << 20 < said["heap_used_bytes"] < said["heap_committed_bytes"] <= 64 << 20


def test_what_jolokia_refuses_is_said(platform, tmp_path):
    flags = ["--pid", platform.process.pid, "--name", "it", "--every", "100ms", "--accounts", f"jolokia={platform.url('/netty')}"]
    with Watch(tmp_path, *flags) as watch:
        watch.await_line(lambda line: line.get("event") == "source_lost")
        assert watch.end() == 0
    assert "/netty does not answer: answers with what is not a list: is it Jolokia?" in watch.output, watch.output


@pytest.mark.parametrize("preset", ["emqx", "hivemq"])
def test_the_words_of_brokers_that_are_not_to_be_had_here(preset, tmp_path):
    text = (FIXTURES / f"{preset}.prometheus").read_text()
    with sleeper() as child, Service(answer=lambda path, body: (200, text)) as service:
        said = look(tmp_path, child.pid, "--accounts", f"{preset}=http://127.0.0.1:{service.port}", wanted=["retained"])
    path = {"emqx": "/api/v5/prometheus/stats", "hivemq": "/metrics"}[preset]
    assert {path_asked for path_asked, *_ in service.requests} == {path}
    figures = ("heap_used_bytes", "retained", "connections", "sessions", "subscriptions", "published_total", "connected_total")
    assert {name: said[name] for name in figures} == {
        "emqx": dict(zip(figures, (154_803_760, 1203, 4100, 5200, 9300, 88_123, 7011))),
        "hivemq": dict(zip(figures, (734_003_200, 1203, 4100, 5200, 9300, 88_123, 7011))),
    }[preset]
