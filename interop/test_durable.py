"""What was acknowledged survives `kill -9`: the real broker, stock clients.

`KILLS` says how often the broker is killed in the long test (50), `SEED` replays its moments:
KILLS=20000 SEED=7 DURABILITY=fsync interop/run -k random_moments -s
"""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter

import pytest

import broker as brokers
from durable import (
    STAY,
    TWENTY,
    Killer,
    Publisher,
    Subscriber,
    data,
    durable,
    figure,
    logged,
    memory,
    persistent,
    publish,
    publish_twenty,
    restart,
    retained,
    running,
    settled,
    unusual,
    until,
)
from raw import Raw, Taker
from test_process import listening, run

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own promise")


def test_killed_at_random_moments_it_keeps_its_word():
    """0 acknowledged messages lost, 0 duplicates at QoS 2, order kept, retained messages as acknowledged."""
    kills, seed = int(os.environ.get("KILLS", "50")), int(os.environ.get("SEED", time.time_ns() % 1_000_000))
    durability = os.environ.get("DURABILITY", "fsync")
    print(f"\nSEED={seed} KILLS={kills} DURABILITY={durability}")
    with durable(f"durability {durability}\nmax_queued_messages 0\nconnection_messages false") as broker:
        port = broker.port
        publishers = [Publisher(port, f"p{version}{qos}", version, qos, 3, 3, 250) for version in (4, 5) for qos in (1, 2)]
        online = [Subscriber(port, f"online{version}{qos}", version, qos) for version, qos in ((4, 1), (4, 2), (5, 2))]
        offline = [Subscriber(port, f"offline{version}{qos}", version, qos) for version, qos in ((5, 1), (5, 2), (4, 2))]
        members = [Subscriber(port, f"member{number}", 5, 2, "$share/group/kill/#") for number in range(2)]
        subscribers = online + offline + members
        killer = Killer(broker, publishers, seed)
        with running(subscribers):
            until(lambda: all(subscriber.present for subscriber in subscribers))
            with running(publishers):
                while killer.kills < kills:
                    for subscriber in offline + members[1:]:
                        wanted = killer.random.random() < 0.15
                        (subscriber.wanted.set if wanted else subscriber.wanted.clear)()
                    killer.cycle()
                for publisher in publishers:
                    publisher.done.set()
                until(lambda: not any(p.outstanding for p in publishers), 30, "not everything was acknowledged")
            for subscriber in subscribers:
                subscriber.wanted.set()
            acknowledged = {topic: numbers for publisher in publishers for topic, numbers in publisher.acknowledged.items()}
            takers = [[subscriber] for subscriber in online + offline] + [members]
            drain(subscribers, lambda: not any(missing(acknowledged, taker) for taker in takers))
        print(f"{killer.kills} kills, {killer.young} of them while starting, {killer.checks} checks of retained messages")
        total = sum(len(numbers) for numbers in acknowledged.values())
        print(f"{total} messages acknowledged, {sum(s.count for s in subscribers)} received by {len(subscribers)} subscribers")
        print(f"{sum(s.connects for s in subscribers + publishers)} connections")
        problems = [f"{s.identifier}: {s.problem}" for s in subscribers + publishers if s.problem]
        problems += [f"{s.identifier}: {s.lost_sessions} sessions lost" for s in subscribers if s.lost_sessions]
        problems += [f"{p.identifier}: refused {p.refused[:3]}" for p in publishers if p.refused]
        for publisher in publishers:
            for taker in takers:
                problems += compare(publisher, taker)
        assert not problems, f"SEED={seed}:\n" + "\n".join(problems + unusual(broker))
        last = {topic: max(numbers) for topic, numbers in acknowledged.items() if "/r" in topic}
        assert {topic: int(payload) for topic, payload in retained(port, "kill/#", len(last)).items()} == last
        assert not unusual(broker), unusual(broker)
        broker.kill()
        check = run("check", str(broker.directory / "plimsoll-data"))
        assert check.returncode == 0, check.stdout + check.stderr


def drain(subscribers, complete):
    """Waits until everything has come, or for long nothing has; then for what must not come."""
    count, since = 0, time.monotonic()
    while not complete() and time.monotonic() < since + 15:
        time.sleep(0.5)
        if (received := sum(s.count for s in subscribers)) != count:
            count, since = received, time.monotonic()
    time.sleep(0.5)


def missing(acknowledged, taker):
    """What was acknowledged and has reached none of these subscribers, who share a subscription."""
    due = ((topic, set(numbers)) for topic, numbers in acknowledged.items())
    rest = {topic: sorted(numbers.difference(*(s.numbers[topic] for s in taker))) for topic, numbers in due}
    return {topic: numbers for topic, numbers in rest.items() if numbers}


def compare(publisher, taker):
    """What is wrong with what one subscriber, or those that share a subscription, have of a publisher."""
    who = f"{publisher.identifier} to {taker[0].identifier}"
    lost = missing(publisher.acknowledged, taker).items()
    problems = [f"{who}: {len(numbers)} lost on {topic}: {numbers[:5]}" for topic, numbers in lost]
    for topic in publisher.acknowledged:
        # What is published again at QoS 1 may go to another member of a group than at first.
        ordered = taker if publisher.qos == 2 or len(taker) == 1 else []
        for subscriber in ordered:
            first = list(dict.fromkeys(subscriber.numbers[topic]))
            if first != sorted(first):
                at = next(i for i in range(1, len(first)) if first[i] < first[i - 1])
                problems.append(f"{who}: out of order on {topic}: {first[max(0, at - 3) : at + 3]}")
        if publisher.qos == taker[0].qos == 2:
            count = Counter(number for subscriber in taker for number in subscriber.numbers[topic])
            if twice := [number for number, times in count.items() if times > 1]:
                problems.append(f"{who}: {len(twice)} twice on {topic}: {twice[:5]}")
    return problems


# Twenty retained messages.


@pytest.mark.parametrize("durability", ["fsync", "os"])
def test_twenty_of_twenty(durability):
    with durable(f"durability {durability}") as broker:
        publish_twenty(broker.port)
        restart(broker, "kill")
        assert retained(broker.port, "twenty/#", 20) == TWENTY


def test_without_a_configuration_file_it_is_durable_and_says_so(tmp_path):
    log, port = tmp_path / "log", brokers.free_port()
    tmp_path.chmod(0o755)

    def start():
        with log.open("ab") as output:
            process = subprocess.Popen([brokers.program(), "-p", str(port)], stdout=output, stderr=output, cwd=tmp_path)
        assert listening(port)
        return process

    process = start()
    try:
        publish_twenty(port)
        process.kill()
        process.wait()
        assert (tmp_path / "plimsoll-data").is_dir()
        first_lines = log.read_text().splitlines()[:10]
        assert any("Keeping state in ./plimsoll-data: what is acknowledged is on disk" in line for line in first_lines), first_lines
        process = start()
        assert retained(port, "twenty/#", 20) == TWENTY
        assert "Restored 20 retained messages" in log.read_text()
    finally:
        process.kill()
        process.wait()


def test_persistence_false_writes_nothing():
    with brokers.Broker(config=f"{STAY}persistence false") as broker:
        before = {path.name for path in broker.directory.iterdir()}
        publish_twenty(broker.port)
        persistent(broker, "nobody").end()
        broker.signal(signal.SIGUSR1)
        time.sleep(0.3)
        assert {path.name for path in broker.directory.iterdir()} == before == {"broker.conf", "broker.log"}
        assert "Nothing is kept over a restart" in broker.log_text()
        restart(broker, "kill")
        assert retained(broker.port, "twenty/#", 0, 1) == {}


def test_a_snapshot_keeps_what_was_saved():
    with durable("durability snapshot") as broker:
        publish_twenty(broker.port)
        broker.signal(signal.SIGUSR1)
        logged(broker, "Saved: ")
        publish(broker.port, "later", "x", "-r")
        restart(broker, "kill")
        assert retained(broker.port, "#", 20) == TWENTY
        publish(broker.port, "later", "y", "-r")
        restart(broker, "stop")
        assert retained(broker.port, "#", 21) == TWENTY | {"later": "y"}


# Queues on disk.

SESSIONS, OWN, COMMON = 200, 200, 800


def test_offline_queues_cost_little_memory_and_drain_in_order():
    """200 sessions with 1,000 messages of 200 bytes; the broker is killed in the middle of draining."""
    own = lambda number: [f"own/{number} {at}".ljust(200).encode() for at in range(OWN)]
    common = [f"common {at}".ljust(200).encode() for at in range(COMMON)]
    with durable("max_queued_messages 0\nconnection_messages false") as broker:
        takers = [Taker(broker.port, f"taker{number}", number % 2 + 1) for number in range(SESSIONS)]
        for number, taker in enumerate(takers):
            taker.connect()
            taker.raw.subscribe(taker.qos, f"q/{number}", "q/all")
            taker.raw.close()
        until(lambda: int(figure(broker, "clients/connected") or 99) <= 1)
        settled(broker)
        before, began = memory(broker), time.monotonic()
        with contextlib.closing(Raw(broker.port, "publisher", clean=True)) as publisher:
            publisher.publish_all(((f"q/{number}", payload) for number in range(SESSIONS) for payload in own(number)), 2)
            publisher.publish_all((("q/all", payload) for payload in common), 2, 50)
        grown, came_in = memory(broker) - before, time.monotonic() - began
        peak = memory(broker, "VmHWM") - before
        queued = SESSIONS * (OWN + COMMON)
        print(f"\n{queued} messages queued in {came_in:.1f} s: RSS +{grown >> 20} MiB, at most +{peak >> 20} MiB")
        restart(broker, "kill")
        # What the start took for a moment goes back to the system about a second later.
        until(lambda: memory(broker) - before < 32 << 20)
        print(f"after a restart: RSS {memory(broker) >> 20} MiB, before the queues {before >> 20} MiB")
        drained, most, began = 0, 0, time.monotonic()
        for number, taker in enumerate(takers):
            assert taker.connect(), "the session is not there"
            expected = own(number) + common
            if number % 20 == 7:
                taker.take(len(expected) // 3)
                broker.kill()
                broker.start()
                assert taker.connect(), "the session is not there"
            with contextlib.suppress(TimeoutError):
                taker.take(len(expected))
                taker.complete()
            assert taker.payloads == expected, first_difference(taker.payloads, expected)
            taker.raw.close()
            drained += len(expected)
            most = max(most, memory(broker))
        took = time.monotonic() - began
        print(f"{drained} drained in {took:.1f} s with {SESSIONS // 20} kills: RSS at most {most >> 20} MiB, {sum(t.again for t in takers)} came again with DUP")
        broker.kill()
        broker.start()
        for taker in takers[::10]:
            assert taker.connect()
            taker.raw.socket.sendall(b"\xc0\x00")
            assert taker.raw.read()[0] == 0xD0, "something came again"
        assert grown < 32 << 20, "queues lie in memory"
        assert not unusual(broker), unusual(broker)


def first_difference(got, expected):
    """Where two lists differ first, to be read by people."""
    at = next((at for at, pair in enumerate(zip(got, expected)) if pair[0] != pair[1]), min(len(got), len(expected)))
    show = lambda part: [payload.decode().strip() for payload in part[max(0, at - 2) : at + 3]]
    return f"{len(got)} of {len(expected)}; at {at}: {show(got)} instead of {show(expected)}"
