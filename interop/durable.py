"""What the tests of lasting state share: brokers that keep it, and clients that live through crashes."""

import contextlib
import os
import random
import signal
import subprocess
import threading
import time
from collections import defaultdict

import paho.mqtt.client as mqtt
import pytest

import broker as brokers
from stock import Client, properties

# Files of a broker that root has started would belong to another user after a restart.
STAY = "user root\n" if os.geteuid() == 0 else ""
TWENTY = {f"twenty/{number}": str(number) for number in range(20)}
ENDINGS = pytest.mark.parametrize("how", ["kill", "stop"])
FOREVER = {"SessionExpiryInterval": 0xFFFFFFFF}


def durable(config="", **options):
    """A broker, not yet started, that keeps its state."""
    return brokers.Broker(config=f"{STAY}persistence true\nsys_interval 1\n{config}", broker="plimsoll", **options)


def data(broker, pattern="*"):
    """Files of its data directory, by name."""
    return sorted((broker.directory / "plimsoll-data").glob(pattern))


def restart(broker, how, down=0):
    """Ends a broker by `kill` (SIGKILL) or `stop` (SIGTERM), and starts it again `down` seconds later."""
    getattr(broker, how)()
    time.sleep(down)
    broker.start()


def until(condition, seconds=20, what=None):
    """Waits until a condition holds, and answers its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, what or f"not within {seconds} s"
        time.sleep(0.02)
    return value


def logged(broker, text, seconds=20):
    """Waits until the log has a text."""
    until(lambda: text in broker.log_text(), seconds, f"{text!r} is not in the log:\n{broker.log_text()[-4000:]}")


def settled(broker):
    """Waits until everything that was done so far is stored: a commit is behind it."""
    publish(broker.port, "settled", str(time.monotonic()), "-r")


def publish(port, topic, payload, *arguments):
    """Publishes at QoS 1 with mosquitto_pub, which ends when it is acknowledged."""
    command = ["mosquitto_pub", "-p", str(port), "-q", "1", "-t", topic, "-m", payload, *arguments]
    subprocess.run(command, check=True, capture_output=True, timeout=20)


def retained(port, pattern, count, seconds=20):
    """The retained messages of a topic filter, as a dictionary: `count` of them, or what came in time."""
    command = ["mosquitto_sub", "-p", str(port), "-t", pattern, "--retained-only", "-F", "%t %p", "-W", str(seconds)]
    if count:
        command += ["-C", str(count)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 10).stdout
    return dict(line.split(" ", 1) for line in found.splitlines())


def persistent(broker, identifier, version=5, clean=False, **options):
    """A client whose session outlives its connection."""
    connect = FOREVER | options.pop("connect", {}) if version == 5 else None
    return Client(broker.port, identifier, version, clean, connect=connect, **options)


def memory(broker, field="VmRSS"):
    """Bytes that the process has in memory."""
    with open(f"/proc/{broker.process.pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))


def publish_twenty(port):
    """20 retained messages, acknowledged one by one: none may hide behind a later commit."""
    with Client(port) as client:
        for topic, payload in TWENTY.items():
            client.publish(topic, payload, 1, retain=True)


def unusual(broker):
    """Lines of the log that a healthy store does not write; what a kill tears is none."""
    words = ("damaged", "Unable", "cannot be understood", "failed", "panic", "broke off")
    return [line for line in broker.log_text().splitlines() if any(word in line for word in words)]


def figure(broker, name):
    """A value below $SYS/broker; `None` before its first round."""
    return next(iter(retained(broker.port, f"$SYS/broker/{name}", 1).values()), None)


def answer(port):
    """The reason code of a QoS 1 retained message from a 5.0 client."""
    codes = []
    with Client(port) as client:
        client.paho.on_publish = lambda c, u, mid, reason, props: codes.append(reason.value)
        client.publish("again", "x", 1, retain=True, wait=False)
        until(lambda: codes)
    return codes[0]


def acknowledges(broker):
    """Waits until a QoS 1 retained message is acknowledged with success."""
    until(lambda: answer(broker.port) < 0x80, 20, "it does not recover")


class Survivor:
    """A paho client on a thread of its own that reconnects whenever its connection is lost.

    The thread drives paho itself, so that publishing never overtakes what paho sends again.
    """

    def __init__(self, port, identifier, version):
        kind = mqtt.MQTTv5 if version == 5 else mqtt.MQTTv311
        session = {} if version == 5 else {"clean_session": False}
        callbacks = mqtt.CallbackAPIVersion.VERSION2
        self.paho = mqtt.Client(callbacks, identifier, protocol=kind, reconnect_on_failure=False, **session)
        v5 = {"clean_start": False, "properties": properties("CONNECT", **FOREVER)}
        self.arguments = ("127.0.0.1", port, 60), v5 if version == 5 else {}
        self.identifier, self.connects, self.lost_sessions = identifier, 0, 0
        self.present, self.problem = False, None
        self.wanted, self.ended = threading.Event(), threading.Event()
        self.wanted.set()
        self.paho.on_connect = self.connected
        self.thread = threading.Thread(target=self.run, name=identifier, daemon=True)

    def connected(self, _client, _data, flags, reason, _properties):
        """CONNACK: once there was a session it must be there again."""
        if reason.is_failure:
            self.problem = f"CONNACK {reason}"
            return
        self.connects += 1
        self.lost_sessions += self.present and not flags.session_present

    def run(self):
        """Connects, turns, connects again, until `end`."""
        try:
            while not self.ended.is_set():
                self.turn()
        except Exception as error:  # noqa: BLE001 — it is reported by the test
            self.problem = repr(error)

    def turn(self):
        """One round."""
        if not self.wanted.is_set():
            if self.paho.is_connected():
                self.paho.disconnect()
            self.wanted.wait(0.05)
        elif self.paho.is_connected():
            self.act()
            self.paho.loop(0.01)
        else:
            self.connect()

    def connect(self):
        """Connects and waits for CONNACK; that it fails is part of the game."""
        where, how = self.arguments
        # Paho 2.1 forgets at a second attempt that PUBREC has come, and would publish again.
        for message in self.paho._out_messages.values():
            if message.state == mqtt.mqtt_ms_resend_pubrel:
                message.state = mqtt.mqtt_ms_wait_for_pubcomp
        try:
            self.paho.connect(*where, **how)
        except OSError:
            return time.sleep(0.01)
        while not self.paho.is_connected() and not self.ended.is_set():
            if self.paho.loop(0.05) != mqtt.MQTT_ERR_SUCCESS:
                return None
        return None

    def act(self):
        """What it does while it is connected, besides answering."""

    def end(self):
        """Ends thread and connection."""
        self.ended.set()
        self.thread.join(10)
        self.paho.disconnect()


class Publisher(Survivor):
    """Publishes growing numbers to its topics in turn, and notes which are acknowledged."""

    WINDOW = 10

    def __init__(self, port, identifier, version, qos, topics, retained_topics, rate):
        super().__init__(port, identifier, version)
        self.qos, self.rate = qos, rate
        self.topics = [(f"kill/{identifier}/{number}", False) for number in range(topics)]
        self.topics += [(f"kill/{identifier}/r{number}", True) for number in range(retained_topics)]
        self.sent, self.outstanding, self.done = 0, {}, threading.Event()
        self.next_at = 0
        self.acknowledged = defaultdict(list)
        self.refused = []
        self.paho.on_publish = self.published

    def published(self, _client, _data, mid, reason, _properties):
        """PUBACK or PUBCOMP; to a PUBREL that is repeated after the end the answer is 0x92."""
        topic, number = self.outstanding.pop(mid)
        if reason.is_failure and (self.qos, reason.value) != (2, 0x92):
            self.refused.append((topic, number, str(reason)))
        else:
            self.acknowledged[topic].append(number)

    def act(self):
        while len(self.outstanding) < self.WINDOW and self.next_at < time.monotonic() and not self.done.is_set():
            self.next_at = max(self.next_at, time.monotonic() - 0.1) + 1 / self.rate
            self.publish()

    def publish(self):
        """Publishes the next number."""
        topic, retain = self.topics[self.sent % len(self.topics)]
        self.sent += 1
        # A large one now and then, so that the store has to move things about.
        payload = str(self.sent).ljust(30_000 if self.sent % 40 == 0 else 0)
        info = self.paho.publish(topic, payload, self.qos, retain)
        if info.mid in self.outstanding:
            raise RuntimeError("a packet identifier that is in use")
        self.outstanding[info.mid] = topic, self.sent


class Subscriber(Survivor):
    """Notes the numbers that it receives, by topic, in order."""

    def __init__(self, port, identifier, version, qos, pattern="kill/#"):
        super().__init__(port, identifier, version)
        self.qos, self.pattern, self.numbers, self.count, self.asked = qos, pattern, defaultdict(list), 0, False
        self.paho.on_message = self.received
        self.paho.on_subscribe = self.subscribed

    def subscribed(self, *_):
        """SUBACK: from here on the session must stay."""
        self.present = True

    def received(self, _client, _data, message):
        """A message, as the application gets it."""
        self.count += 1
        self.numbers[message.topic].append(int(message.payload))

    def act(self):
        if not self.asked:
            self.asked = True
            self.paho.subscribe(self.pattern, self.qos)


class Killer:
    """Kills and restarts a broker at moments that a seed decides, and checks retained messages."""

    def __init__(self, broker, publishers, seed):
        self.broker, self.publishers, self.random = broker, publishers, random.Random(seed)
        self.kills = self.young = self.checks = 0

    def cycle(self):
        """Lets the broker run for a while, kills it, starts it; sometimes while it saves or starts."""
        time.sleep(self.random.uniform(0.15, 0.55))
        if self.random.random() < 0.25:
            self.broker.signal(signal.SIGUSR1)
            time.sleep(self.random.uniform(0, 0.03))
        at_start = self.random.random() < 0.25
        moment = self.random.uniform(0, 0.04)
        self.kill()
        if at_start:
            self.broker.spawn()
            time.sleep(moment)
            self.kill()
            self.young += 1
        due = {topic: numbers[-1] for publisher in self.publishers for topic, numbers in list(publisher.acknowledged.items())}
        self.broker.start()
        if self.random.random() < 0.5:
            self.check_retained(due)

    def kill(self):
        """SIGKILL."""
        assert self.broker.alive(), f"the broker died by itself:\n{self.broker.log_text()[-4000:]}"
        self.broker.kill()
        self.kills += 1

    def check_retained(self, due):
        """What is retained is what was acknowledged last, or something later."""
        due = {topic: number for topic, number in due.items() if "/r" in topic}
        if due:
            found = retained(self.broker.port, "kill/#", len(due))
            self.checks += 1
            old = {topic: (found.get(topic), number) for topic, number in due.items() if int(found.get(topic, -1)) < number}
            assert not old, f"retained, and acknowledged before the kill: {old}"


@contextlib.contextmanager
def running(survivors):
    """Starts them, and ends them however it goes."""
    for survivor in survivors:
        survivor.thread.start()
    try:
        yield
    finally:
        for survivor in survivors:
            survivor.end()
