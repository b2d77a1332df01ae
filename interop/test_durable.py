"""What was acknowledged survives `kill -9`, full disks and damage: the real broker, stock clients.

`KILLS` says how often the broker is killed in the long test (50), `SEED` replays its moments:
KILLS=20000 SEED=7 interop/run -k random_moments -s
"""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

import broker as brokers
from dialog import Dialog
from durable import (
    STAY,
    Killer,
    Publisher,
    Subscriber,
    data,
    durable,
    logged,
    memory,
    persistent,
    publish,
    restart,
    retained,
    running,
    settled,
    until,
)
from raw import Raw, Taker
from stock import Client, properties
from test_process import listening, run

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own promise")

TWENTY = {f"twenty/{number}": str(number) for number in range(20)}
ENDINGS = pytest.mark.parametrize("how", ["kill", "stop"])


# Killed at random moments.


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
            with contextlib.suppress(AssertionError):
                until(lambda: not any(missing(acknowledged, taker) for taker in takers), 60)
            time.sleep(0.5)  # For what must not come.
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
        for subscriber in taker:
            first = list(dict.fromkeys(subscriber.numbers[topic]))
            if first != sorted(first):
                at = next(i for i in range(1, len(first)) if first[i] < first[i - 1])
                problems.append(f"{who}: out of order on {topic}: {first[max(0, at - 3) : at + 3]}")
        if publisher.qos == taker[0].qos == 2:
            count = Counter(number for subscriber in taker for number in subscriber.numbers[topic])
            if twice := [number for number, times in count.items() if times > 1]:
                problems.append(f"{who}: {len(twice)} twice on {topic}: {twice[:5]}")
    return problems


def unusual(broker):
    """Lines of the log that a healthy store does not write; what a kill tears is none."""
    words = ("damaged", "Unable", "cannot be understood", "failed", "panic", "broke off")
    return [line for line in broker.log_text().splitlines() if any(word in line for word in words)]


# Twenty retained messages.


def publish_twenty(port):
    with Client(port) as client:
        for topic, payload in TWENTY.items():
            client.publish(topic, payload, 1, retain=True)
            # Acknowledged one by one: nothing may hide behind a later commit.


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


# Sessions.


@ENDINGS
def test_subscriptions_come_back_with_options_and_identifiers(how):
    with durable() as broker:
        with persistent(broker, "s") as client:
            assert client.subscribe("own/#", 1, noLocal=True, retainAsPublished=True, properties=properties("SUBSCRIBE", SubscriptionIdentifier=7)) == [1]
            assert client.subscribe("plain", 2, properties=properties("SUBSCRIBE", SubscriptionIdentifier=268_435_455)) == [2]
            assert client.subscribe("left", 2) == [2]
            client.paho.unsubscribe("left")
        with persistent(broker, "old", 4) as old:
            assert old.subscribe("plain", 1) == [1]
        settled(broker)
        restart(broker, how)
        with persistent(broker, "s") as client, persistent(broker, "old", 4) as old, Client(broker.port) as other:
            assert client.flags.session_present and old.flags.session_present
            client.publish("own/a", "mine", 1)
            other.publish("own/a", "theirs", 2, retain=True)
            other.publish("plain", "plain", 2, retain=True)
            other.publish("left", "left", 1)
            first, second = client.next(), client.next()
            assert (first.payload, first.qos, first.retain, first.properties.SubscriptionIdentifier) == (b"theirs", 1, True, [7])
            assert (second.payload, second.qos, second.retain, second.properties.SubscriptionIdentifier) == (b"plain", 2, False, [268_435_455])
            third = old.next()
            assert (third.payload, third.qos, third.retain) == (b"plain", 1, False)
            assert client.silent() and old.silent()


CONNECT = {4: "10 { 'MQTT' 04 00 0000 '%s' }", 5: "10 { 'MQTT' 05 00 0000 { 11 FFFFFFFF } '%s' }"}


def play(broker, version, script):
    """A dialog; `connect NAME 0|1` connects with a persistent session and expects Session Present."""
    lines = []
    for line in script.splitlines():
        words = line.split()
        if words[:1] == ["connect"]:
            connack = "< 20 02 0%s 00" if version == 4 else "< 20 ?? 0%s 00 .."
            lines += ["> " + CONNECT[version] % words[1], connack % words[2]]
        else:
            lines.append(line)
    Dialog(broker.port, version, {"p": "{}" if version == 5 else ""}).play("\n".join(lines))


@pytest.mark.parametrize("version", [4, 5])
@ENDINGS
def test_what_is_in_flight_comes_again_as_it_was(how, version):
    """DUP and the original packet identifiers; PUBREL where PUBREC had come; nothing after PUBCOMP."""
    with durable() as broker:
        play(broker, version, "connect s 0\n> 82 { 0001 $p 'f/1' 01 'f/2' 02 }\n< SUBACK 01 02")
        with Client(broker.port, version=4) as publisher:
            for number, topic in enumerate(("f/1", "f/2", "f/2", "f/1", "f/2")):
                publisher.publish(topic, f"m{number}", 2)
        play(
            broker,
            version,
            """connect s 1
            < 32 { 'f/1' 0001 $p "m0" }
            < 34 { 'f/2' 0002 $p "m1" }
            < 34 { 'f/2' 0003 $p "m2" }
            < 32 { 'f/1' 0004 $p "m3" }
            < 34 { 'f/2' 0005 $p "m4" }
            > 40 { 0001 }
            > 50 { 0002 }
            < 62 { 0002 }
            > 50 { 0003 }
            < 62 { 0003 }
            > 70 { 0003 }
            open""",
        )
        settled(broker)
        for _ in range(2):
            restart(broker, how)
            play(
                broker,
                version,
                """connect s 1
                < 62 { 0002 }
                < 3A { 'f/1' 0004 $p "m3" }
                < 3C { 'f/2' 0005 $p "m4" }
                silence 0.3s""",
            )
        play(
            broker,
            version,
            """connect s 1
            < 62 { 0002 }
            < 3A { 'f/1' 0004 $p "m3" }
            < 3C { 'f/2' 0005 $p "m4" }
            > 70 { 0002 }
            > 40 { 0004 }
            > 50 { 0005 }
            < 62 { 0005 }
            > 70 { 0005 }
            open""",
        )
        settled(broker)
        restart(broker, how)
        play(broker, version, "connect s 1\nsilence 0.3s")


@pytest.mark.parametrize("version", [4, 5])
@ENDINGS
def test_a_qos_2_message_that_was_sent_before_the_restart_is_delivered_once(how, version):
    with durable() as broker:
        with persistent(broker, "s", 4) as subscriber:
            subscriber.subscribe("t", 2)
        play(broker, version, """connect p 0\n> 34 { 't' 0009 $p "once" }\n< PUBREC 00""")
        restart(broker, how)
        play(broker, version, """connect p 1\n> 3C { 't' 0009 $p "once" }\n< PUBREC 00""")
        restart(broker, how)
        play(
            broker,
            version,
            """connect p 1
            > 3C { 't' 0009 $p "once" }
            < PUBREC 00
            > 62 { 0009 }
            < PUBCOMP 00
            > 34 { 't' 0009 $p "new" }
            < PUBREC 00""",
        )
        restart(broker, how)
        play(broker, version, "connect p 1\n> 62 { 0009 }\n< PUBCOMP 00")
        with persistent(broker, "s", 4) as subscriber:
            assert subscriber.payloads(2) == ["once", "new"] and subscriber.silent()


@ENDINGS
def test_a_session_that_expires_while_the_broker_is_down_is_gone(how):
    with durable() as broker:
        for name, expiry in (("short", 2), ("long", 3600)):
            with Client(broker.port, name, 5, False, connect={"SessionExpiryInterval": expiry}) as client:
                client.subscribe("t", 1)
        logged(broker, "Client long disconnected")
        publish(broker.port, "t", "x")
        restart(broker, how, down=2.5)
        logged(broker, "1 sessions (1 more had expired)")
        with Client(broker.port, "short", 5, False) as short, Client(broker.port, "long", 5, False) as long:
            assert not short.flags.session_present and long.flags.session_present
            assert long.payloads(1) == ["x"] and short.silent()
        restart(broker, how)
        assert "2 more" not in broker.log_text()


def with_will(broker, delay):
    will = {"topic": "will", "payload": "gone", "qos": 1, "properties": properties("WILLMESSAGE", WillDelayInterval=delay)}
    return persistent(broker, "mortal", will=will)


@ENDINGS
def test_a_will_whose_delay_passes_while_the_broker_is_down_is_published(how):
    with durable() as broker:
        with persistent(broker, "watcher") as watcher:
            watcher.subscribe("will", 1)
        with_will(broker, 2).vanish()
        logged(broker, "Client mortal closed its connection")
        settled(broker)
        restart(broker, how, down=2.5)
        with persistent(broker, "watcher") as watcher:
            assert watcher.payloads(1) == ["gone"]
        until(lambda: broker.log_text().count("Client watcher disconnected") == 2)
        settled(broker)
        restart(broker, how)
        with persistent(broker, "watcher") as watcher, persistent(broker, "mortal"):
            assert watcher.silent(), "a will is published once"


@ENDINGS
def test_a_will_whose_client_comes_back_in_time_is_not_published(how):
    with durable() as broker:
        with persistent(broker, "watcher") as watcher:
            watcher.subscribe("will", 1)
        with_will(broker, 5).vanish()
        logged(broker, "Client mortal closed its connection")
        settled(broker)
        restart(broker, how)
        with persistent(broker, "watcher") as watcher, persistent(broker, "mortal") as mortal:
            assert mortal.flags.session_present and watcher.silent(5.5)


@ENDINGS
def test_message_expiry_goes_on_while_the_broker_is_down(how):
    with durable() as broker:
        with persistent(broker, "s") as subscriber:
            subscriber.subscribe("e/#", 1)
        with Client(broker.port) as publisher:
            for name, seconds in (("short", 2), ("long", 100)):
                publisher.publish(f"e/{name}", name, 1, retain=True, MessageExpiryInterval=seconds)
        restart(broker, how, down=3)
        with persistent(broker, "s") as subscriber:
            message = subscriber.next()
            assert message.payload == b"long" and message.properties.MessageExpiryInterval <= 97
            assert subscriber.silent()
        assert retained(broker.port, "e/#", 0, 1) == {"e/long": "long"}


@ENDINGS
def test_the_backlog_of_a_shared_subscription_comes_back(how):
    with durable() as broker:
        for name in "ab":
            with persistent(broker, name) as member:
                member.subscribe("$share/g/t", 1)
        with Client(broker.port) as publisher:
            for number in range(20):
                publisher.publish("t", str(number), 1)
        restart(broker, how)
        with persistent(broker, "a") as one, persistent(broker, "b") as two:
            assert one.flags.session_present and two.flags.session_present
            until(lambda: one.messages.qsize() + two.messages.qsize() >= 20)
            got = [client.payloads(client.messages.qsize()) for client in (one, two)]
            assert one.silent() and two.silent()
            assert sorted(map(int, got[0] + got[1])) == list(range(20))
            assert all(list(map(int, part)) == sorted(map(int, part)) for part in got), got


@ENDINGS
def test_what_a_member_leaves_behind_goes_to_the_others(how):
    """After the restart one member's session ends: its part of the backlog is not lost."""
    with durable() as broker:
        for name in "ab":
            with persistent(broker, name) as member:
                member.subscribe("$share/g/t", 1)
        with Client(broker.port) as publisher:
            for number in range(20):
                publisher.publish("t", str(number), 1)
        restart(broker, how)
        with persistent(broker, "a") as one:
            Client(broker.port, "b", 5, True).end()
            assert sorted(map(int, one.payloads(20))) == list(range(20)) and one.silent()


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
        until(lambda: int(figure(broker, "clients/connected")) <= 1)
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
        after_start = memory(broker)
        print(f"after a restart: RSS {after_start >> 20} MiB, before the queues {before >> 20} MiB")
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
        assert grown < 32 << 20 and after_start - before < 32 << 20, "queues lie in memory"
        assert not unusual(broker), unusual(broker)


def first_difference(got, expected):
    """Where two lists differ first, to be read by people."""
    at = next((at for at, pair in enumerate(zip(got, expected)) if pair[0] != pair[1]), min(len(got), len(expected)))
    show = lambda part: [payload.decode().strip() for payload in part[max(0, at - 2) : at + 3]]
    return f"{len(got)} of {len(expected)}; at {at}: {show(got)} instead of {show(expected)}"


def figure(broker, name):
    """A value below $SYS/broker."""
    return next(iter(retained(broker.port, f"$SYS/broker/{name}", 1).values()))


# Disks that do not write.


def mount(kind, where, *options):
    done = subprocess.run(["mount", "-t", kind, *options, str(where)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")


def unmount(where):
    subprocess.run(["umount", str(where)], check=False)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 40 MiB."""
    mount("tmpfs", tmp_path, "-o", "size=40m", "tmpfs")
    yield tmp_path
    unmount(tmp_path)


def fill(directory):
    """Leaves no byte free, with a file that can be removed again."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)
    return filler


class Fat:
    """Retained messages of 64 KiB, published until the store fails: those that were acknowledged."""

    def __init__(self, broker):
        self.broker, self.acknowledged, self.messages = broker, {}, {}
        with Client(broker.port) as client:
            for number in range(2000):
                topic, payload = f"fat/{number}", f"{number} ".ljust(65_536, "x")
                self.messages[topic] = payload
                info = client.publish(topic, payload, 1, retain=True, wait=False)
                until(lambda: info.is_published() or "Unable to store in " in broker.log_text(), 15)
                if not info.is_published():
                    # It was taken before the failure: no acknowledgement. It may be there later, or not.
                    return
                self.acknowledged[topic] = payload
        raise AssertionError("the disk is never full")

    def check(self):
        """Everything that was acknowledged is there."""
        found = {}
        with Client(self.broker.port) as client:
            client.paho.on_message = lambda c, u, message: found.update({message.topic: message.payload.decode()})
            client.subscribe("fat/#")
            with contextlib.suppress(AssertionError):
                until(lambda: found.keys() >= self.acknowledged.keys())
        missing = [topic for topic in self.acknowledged if topic not in found]
        assert not missing and found.items() <= self.messages.items(), f"acknowledged and not there: {missing}"


def answer(port):
    """The reason code of a QoS 1 retained message from a 5.0 client."""
    with Client(port) as client:
        reasons = []
        client.paho.on_publish = lambda c, u, mid, reason, props: reasons.append(reason.value)
        client.publish("again", "x", 1, retain=True, wait=False)
        until(lambda: reasons)
        return reasons[0]


def unhealthy(broker, why):
    """Waits until log and $SYS name the reason."""
    logged(broker, "Unable to store in ")
    assert why in broker.log_text()
    until(lambda: why in figure(broker, "store/health"))


def acknowledges(broker):
    """Waits until a QoS 1 retained message is acknowledged with success."""
    until(lambda: answer(broker.port) < 0x80, 20, "it does not recover")


@pytest.mark.parametrize("killed", [False, True], ids=["goes on", "killed while full"])
def test_a_full_disk(small_disk, killed):
    with durable(f"persistence_location {small_disk}/data") as broker:
        with persistent(broker, "s", 4) as subscriber:
            subscriber.subscribe("t", 1)
        publish_twenty(broker.port)
        filler, fat = fill(small_disk), Fat(broker)
        print(f"\n{len(fat.acknowledged)} messages of 64 KiB acknowledged before the disk was full")
        unhealthy(broker, "No space left on device")
        assert answer(broker.port) == 0x97
        with Client(broker.port, version=4) as old:
            waiting = old.publish("t", "old", 1, wait=False)
            time.sleep(1)
            assert not waiting.is_published() and broker.alive()
            fat.check()
            if killed:
                restart(broker, "kill")
                assert retained(broker.port, "twenty/#", 20) == TWENTY
                fat.check()
            filler.unlink()
            acknowledges(broker)
            if not killed:
                waiting.wait_for_publish(10)
                logged(broker, "Storing works again.")
                until(lambda: figure(broker, "store/health") == "ok")
        if not killed:
            with persistent(broker, "s", 4) as subscriber:
                assert subscriber.payloads(1) == ["old"]
        publish(broker.port, "after", "x", "-r")
        restart(broker, "kill")
        fat.check()
        assert retained(broker.port, "twenty/#", 20) == TWENTY and retained(broker.port, "after", 1) == {"after": "x"}


@pytest.fixture
def own_disk(tmp_path):
    """An ext4 file system in a file: (image, where it is mounted)."""
    image, where = tmp_path / "image", tmp_path / "disk"
    where.mkdir()
    with image.open("wb") as file:
        file.truncate(96 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    mount("ext4", where, "-o", "loop", str(image))
    yield image, where
    unmount(where)


def test_a_disk_that_the_kernel_made_read_only(own_disk):
    """As after an I/O error (`remount,abort`). It cannot be writable again while it is mounted."""
    image, where = own_disk
    with durable(f"persistence_location {where}/data") as broker:
        publish_twenty(broker.port)
        aborted = subprocess.run(["mount", "-o", "remount,abort", str(where)], capture_output=True, text=True)
        if aborted.returncode != 0 and " ro," not in mounted(where):
            pytest.skip(f"remount,abort: {aborted.stderr.strip()}")
        with Client(broker.port) as client:
            waiting = client.publish("refused", "x", 1, retain=True, wait=False)
            logged(broker, "Unable to store in ")
            assert not waiting.is_published()
        assert answer(broker.port) == 0x97
        unhealthy(broker, "os error")
        assert retained(broker.port, "twenty/#", 20) == TWENTY
        broker.kill()
        unmount(where)
        subprocess.run(["e2fsck", "-fp", str(image)], capture_output=True)
        mount("ext4", where, "-o", "loop", str(image))
        broker.start()
        assert retained(broker.port, "twenty/#", 20) == TWENTY
        acknowledges(broker)
        broker.kill()


def mounted(where):
    """Its line of /proc/mounts."""
    return next(line for line in Path("/proc/mounts").read_text().splitlines() if line.split()[1] == str(where))


def test_a_directory_on_a_read_only_disk_is_one_clear_line(small_disk):
    """Without an open file a disk can be made read-only: then a start says why it fails."""
    with durable(f"persistence_location {small_disk}/data") as broker:
        publish_twenty(broker.port)
        broker.kill()
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        broker.spawn()
        assert broker.process.wait(10) == 1 and "Read-only file system" in broker.log_text().splitlines()[-1]
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        broker.start()
        assert retained(broker.port, "twenty/#", 20) == TWENTY
        acknowledges(broker)
        broker.kill()


@pytest.fixture
def frozen(own_disk):
    """`frozen(True)` stops all writing to the disk, as a stuck controller does; `frozen(False)` lets go."""
    _, where = own_disk

    def freeze(on):
        subprocess.run(["fsfreeze", "-f" if on else "-u", str(where)], capture_output=True, check=on)

    yield where, freeze
    freeze(False)


def test_a_disk_that_hangs_holds_acknowledgements_back_and_nothing_else(frozen):
    where, freeze = frozen
    with durable(f"persistence_location {where}/data") as broker:
        with Client(broker.port) as subscriber, Client(broker.port) as publisher:
            subscriber.subscribe("t", 1)
            publish_twenty(broker.port)
            freeze(True)
            waiting = publisher.publish("t", "x", 1, retain=True, wait=False)
            assert subscriber.payloads(1) == ["x"], "delivery need not wait"
            publisher.publish("t", "y", 0)
            assert subscriber.payloads(1) == ["y"]
            time.sleep(0.5)
            assert not waiting.is_published()
            freeze(False)
            waiting.wait_for_publish(10)
            assert waiting.is_published()
        restart(broker, "kill")
        assert retained(broker.port, "t", 1) == {"t": "x"}
        broker.kill()


# Damage.

MANY = {f"many/{number:03}": f"{number:03} ".ljust(300, "d") for number in range(200)}


@pytest.fixture
def many():
    """A broker with 200 retained messages in a journal, each with a batch of its own."""
    with durable() as broker:
        with Client(broker.port) as client:
            for topic, payload in MANY.items():
                client.publish(topic, payload, 1, retain=True)
        yield broker


def lost(broker):
    """How many of the many are missing; what is there is right."""
    found = retained(broker.port, "many/#", 0, 1)
    assert found.items() <= MANY.items()
    return len(MANY) - len(found)


def flip(path, offset, count=1):
    """Flips bytes of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        old = file.read(count)
        file.seek(offset)
        file.write(bytes(byte ^ 0xFF for byte in old))


def find(paths, text):
    """The file that has a text, and where."""
    for path in paths:
        at = path.read_bytes().find(text.encode())
        if at >= 0:
            return path, at
    raise AssertionError(f"{text!r} is in none of {paths}")


def damaged(broker, path, at_most):
    """It starts, names the damaged file in its log, keeps the bytes, and serves the rest."""
    assert run("check", str(path.parent)).returncode == 1
    broker.start()
    gone = lost(broker)
    print(f"\n{gone} of {len(MANY)} lost")
    assert gone <= at_most, f"{gone} lost"
    lines = [line for line in broker.log_text().splitlines() if "damaged" in line]
    assert any(path.name in line and ", kept in damaged-" in line for line in lines), broker.log_text()
    assert data(broker, "damaged-*")
    acknowledges(broker)
    restart(broker, "kill")
    assert lost(broker) == gone and retained(broker.port, "again", 1) == {"again": "x"}
    return gone


@pytest.mark.parametrize("before", [0, 64], ids=["payload", "frame header"])
def test_flipped_bytes_in_the_journal(many, before):
    many.kill()
    path, at = find(data(many, "journal-*"), MANY["many/100"])
    flip(path, at - before, 5)
    damaged(many, path, 1)


def test_a_whole_page_of_the_journal_is_gone(many):
    many.kill()
    path, at = find(data(many, "journal-*"), MANY["many/100"])
    flip(path, at // 4096 * 4096, 4096)
    damaged(many, path, 20)


def test_flipped_bytes_in_a_run(many):
    many.stop()
    path, at = find(data(many, "run-*"), MANY["many/100"])
    flip(path, at, 5)
    damaged(many, path, 1)


def test_a_damaged_index_of_a_run(many):
    many.stop()
    path = data(many, "run-*")[-1]
    flip(path, path.stat().st_size - 80, 80)
    many.start()
    assert lost(many) == 0 and path.name in many.log_text()


@pytest.mark.parametrize("seed", range(5))
def test_a_journal_that_was_cut_off(many, seed):
    """Whatever is left of the last segment, it starts, and says what is missing."""
    many.kill()
    path, end = find(data(many, "journal-*"), MANY["many/199"])
    size = random.Random(seed).randrange(end)
    os.truncate(path, size)
    many.start()
    print(f"\ncut at {size} of {end}: {lost(many)} of {len(MANY)} lost")
    assert "are cut" in many.log_text() or "are damaged" in many.log_text(), many.log_text()
    acknowledges(many)
    restart(many, "kill")
    assert retained(many.port, "again", 1) == {"again": "x"}


@pytest.mark.parametrize("wrong", ["gone", "damaged", "empty"])
@ENDINGS
def test_a_manifest_that_is_wrong(many, how, wrong):
    many.signal(signal.SIGUSR1)
    logged(many, "Saved: ")
    publish(many.port, "many/000", MANY["many/000"], "-r")
    getattr(many, how)()
    manifest = data(many, "manifest")[0]
    if wrong == "gone":
        manifest.unlink()
    elif wrong == "damaged":
        flip(manifest, 20, 30)
    else:
        os.truncate(manifest, 0)
    many.start()
    assert lost(many) == 0
    if wrong == "damaged":
        assert "manifest: " in many.log_text()
    restart(many, "kill")
    assert lost(many) == 0


def test_what_a_damaged_session_leaves_behind_goes_to_nobody():
    """Its subscriptions and messages have lost their owner: who connects next must not get them."""
    with durable() as broker:
        with persistent(broker, "the-damaged-one") as client:
            client.subscribe("secret", 1)
        publish(broker.port, "secret", "old")
        broker.stop()
        path, at = find(data(broker, "run-*"), "the-damaged-one")
        flip(path, at, 3)
        broker.start()
        logged(broker, "belong to a session that is not there")
        persistent(broker, "another").end()
        restart(broker, "stop")
        with persistent(broker, "another") as another, persistent(broker, "the-damaged-one") as client:
            assert another.flags.session_present and not client.flags.session_present
            client.subscribe("secret", 1)
            publish(broker.port, "secret", "new")
            assert client.payloads(1) == ["new"] and another.silent() and client.silent()


def test_what_refers_to_a_damaged_message_gets_no_other():
    """A message that many have queued is stored once: without it they get what is left, and nothing wrong."""
    with durable() as broker:
        for name in "abc":
            with persistent(broker, name) as client:
                client.subscribe("t", 1)
        for payload in ("first", "the-damaged-one".ljust(2000)):
            publish(broker.port, "t", payload)
        broker.stop()
        path, at = find(data(broker, "run-*"), "the-damaged-one")
        flip(path, at, 3)
        broker.start()
        publish(broker.port, "t", "third".ljust(2000))
        for how in ("stop", "kill"):
            restart(broker, how)
        for name in "abc":
            with persistent(broker, name) as client:
                assert [payload.strip() for payload in client.payloads(2)] == ["first", "third"] and client.silent()
