"""What stock clients see: mosquitto_pub and mosquitto_sub, Paho, MQTT.js."""

import os
import subprocess
import time

import pytest

import broker as brokers
from stock import Client, properties

VERSIONS = [4, 5]


def tool(name, port, *arguments):
    return ["mosquitto_" + name, "-h", "127.0.0.1", "-p", str(port), *arguments]


@pytest.mark.parametrize("version", ["mqttv31", "mqttv311", "mqttv5"])
@pytest.mark.parametrize("publish_qos", [0, 1, 2])
@pytest.mark.parametrize("subscribe_qos", [0, 1, 2])
def test_mosquitto_clients_at_every_qos(server, version, publish_qos, subscribe_qos):
    topic = f"tools/{version}/{publish_qos}/{subscribe_qos}"
    more = ["-V", version, "-i", topic.replace("/", "-")[-20:]]
    sub = subprocess.Popen(
        tool("sub", server.port, "-t", topic, "-q", str(subscribe_qos), "-C", "1", "-W", "5", "-F", "%q %p", *more),
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(50):
        time.sleep(0.05)
        subprocess.run(tool("pub", server.port, "-t", topic, "-q", str(publish_qos), "-m", "hello", "-V", version), check=True)
        if sub.poll() is not None:
            break
    assert sub.communicate()[0].strip() == f"{min(publish_qos, subscribe_qos)} hello"


def test_mosquitto_rr_gets_its_response(server):
    with Client(server.port) as device:
        device.subscribe("rr/request", 1)
        asking = subprocess.Popen(
            tool("rr", server.port, "-t", "rr/request", "-e", "rr/response", "-m", "42", "-W", "5", "-V", "mqttv5"),
            stdout=subprocess.PIPE,
            text=True,
        )
        request = device.next()
        assert request.properties.ResponseTopic == "rr/response"
        device.publish("rr/response", "answer")
        assert asking.communicate()[0].strip() == "answer"


@pytest.mark.parametrize("version", VERSIONS)
def test_mqtt_js(server, version):
    ran = subprocess.run(
        ["node", os.path.join(os.environ.get("INTEROP_NODE", "node"), "exchange.js"), str(server.port), str(version)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = ran.stdout.splitlines()
    if brokers.name() == "mosquitto":
        lines = [line for line in lines if not line.startswith("take-over")]  # 2.0.11 does not say why
    assert ran.returncode == 0 and lines and all(line.endswith(": true") for line in lines), ran.stdout + ran.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_retained_messages(server, version):
    topic = f"retained/{version}"
    with Client(server.port, version=version) as client:
        client.subscribe(topic, 1)
        client.publish(topic, "one", 1, retain=True)
        assert not client.next().retain  # MQTT-3.3.1-12
        with Client(server.port, version=version) as late:
            late.subscribe(topic, 1)
            message = late.next()
            assert message.retain and message.payload == b"one"
        client.publish(topic, "", 1, retain=True)
        with Client(server.port, version=version) as later:
            later.subscribe(topic, 1)
            assert later.silent()


def test_retain_handling_and_retain_as_published(server, differs):
    differs("a new subscription to the same filter does not change Retain As Published")
    with Client(server.port) as client:
        client.publish("handling", "x", 1, retain=True)
        client.subscribe("handling", 1, retainHandling=2)
        assert client.silent()
        client.subscribe("handling", 1, retainHandling=1)  # The subscription exists.
        assert client.silent()
        client.subscribe("handling", 1, retainHandling=0, retainAsPublished=True)
        assert client.next().retain
        client.publish("handling", "y", 1, retain=True)
        assert client.next().retain
        client.publish("handling", "", 1, retain=True)


def test_wildcards_and_dollar_topics(server):
    with Client(server.port) as client:
        client.subscribe("#")
        client.publish("wild/card/end", "x")
        message = client.next()
        while message.retain:  # What other tests left behind.
            message = client.next()
        assert message.topic == "wild/card/end"
        assert client.silent(1.2), "a $SYS topic came to #"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_will_is_published_when_a_client_vanishes(server, version):
    with Client(server.port, version=version) as watcher:
        watcher.subscribe(f"will/{version}", 1)
        will = {"topic": f"will/{version}", "payload": "gone", "qos": 1}
        Client(server.port, version=version, will=will).vanish()
        assert watcher.payloads(1) == ["gone"]
        Client(server.port, version=version, will=will).end()
        assert watcher.silent()


def test_a_will_is_delayed_and_cancelled(server):
    will = {"topic": "will/delayed", "payload": "late", "qos": 1, "properties": properties("WILLMESSAGE", WillDelayInterval=1)}
    session = {"SessionExpiryInterval": 60}
    with Client(server.port) as watcher:
        watcher.subscribe("will/delayed", 1)
        Client(server.port, "delayed", will=will, connect=session).vanish()
        assert watcher.silent(0.5)
        assert watcher.payloads(1) == ["late"]
        Client(server.port, "delayed", will=will, connect=session, clean=False).vanish()
        with Client(server.port, "delayed", clean=False, connect=session):
            assert watcher.silent(1.5)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_keeps_its_messages(server, version):
    more = {"connect": {"SessionExpiryInterval": 60}} if version == 5 else {}
    name = f"keeper-{version}"
    with Client(server.port, name, version, clean=True, **more):
        pass
    with Client(server.port, name, version, clean=False, **more) as client:
        client.subscribe("kept/#", 2)
    with Client(server.port, version=version) as publisher:
        for number in range(50):
            publisher.publish(f"kept/{number % 2}", str(number), 1 + number % 2)
    with Client(server.port, name, version, clean=False, **more) as client:
        assert client.flags.session_present
        got = [client.next() for _ in range(50)]
        for parity in (0, 1):  # Order is promised within a topic and QoS (MQTT-4.6.0-6).
            numbers = [int(message.payload) for message in got if message.topic == f"kept/{parity}"]
            assert numbers == list(range(parity, 50, 2))
    with Client(server.port, name, version, clean=True) as client:
        assert not client.flags.session_present


def test_a_session_expires(server):
    Client(server.port, "brief", connect={"SessionExpiryInterval": 1}).end()
    time.sleep(2.2)
    with Client(server.port, "brief", clean=False, connect={"SessionExpiryInterval": 1}) as client:
        assert not client.flags.session_present


def test_take_over_says_why(server, differs):
    differs("closes without DISCONNECT 0x8E")
    with Client(server.port, "same") as first, Client(server.port, "same"):
        # Paho reads the reason (0x8E) only if properties follow it; MQTT.js above checks it.
        assert first.disconnects.get(timeout=5).is_disconnect_packet_from_server


@pytest.mark.parametrize("version", VERSIONS)
def test_shared_subscriptions_are_fair(server, version):
    topic = f"share/{version}"
    members = [Client(server.port, version=version) for _ in range(4)]
    for member in members:
        member.subscribe(f"$share/group/{topic}", 1)
    with Client(server.port, version=version) as publisher:
        for number in range(100):
            publisher.publish(topic, str(number), 1)
    time.sleep(0.3)
    counts = [member.messages.qsize() for member in members]
    for member in members:
        member.end()
    assert sum(counts) == 100 and min(counts) >= 15, counts


def test_messages_expire(server):
    session = {"SessionExpiryInterval": 60}
    Client(server.port, "expiring", connect=session).end()
    with Client(server.port, "expiring", clean=False, connect=session) as client:
        client.subscribe("expire/#", 1)
    with Client(server.port) as publisher:
        publisher.publish("expire/short", "x", 1, MessageExpiryInterval=1)
        publisher.publish("expire/long", "x", 1, MessageExpiryInterval=100)
    time.sleep(2.2)
    with Client(server.port, "expiring", clean=False, connect=session) as client:
        message = client.next()
        assert message.topic == "expire/long" and message.properties.MessageExpiryInterval < 100
        assert client.silent()


def test_properties_are_forwarded_in_order(server):
    users = [("b", "1"), ("a", "2"), ("b", "3")]
    with Client(server.port) as client:
        client.subscribe("props", 1)
        client.publish("props", "x", 1, ContentType="text/plain", ResponseTopic="answer", CorrelationData=b"\x01\x02", UserProperty=users)
        got = client.next().properties
        assert (got.ContentType, got.ResponseTopic, got.CorrelationData) == ("text/plain", "answer", b"\x01\x02")
        assert got.UserProperty == users


def test_overlapping_subscriptions_have_all_identifiers(server, differs):
    differs("sends one copy for each subscription, which is allowed too")
    with Client(server.port) as client:
        client.subscribe("over/+", 1, properties=properties("SUBSCRIBE", SubscriptionIdentifier=1))
        client.subscribe("over/#", 2, properties=properties("SUBSCRIBE", SubscriptionIdentifier=2))
        client.publish("over/lap", "x", 2)
        message = client.next()
        assert message.qos == 2 and sorted(message.properties.SubscriptionIdentifier) == [1, 2]
        assert client.silent()


def test_no_local(server):
    with Client(server.port) as client, Client(server.port) as other:
        client.subscribe("local", 1, noLocal=True)
        client.publish("local", "mine", 1)
        other.publish("local", "theirs", 1)
        assert client.payloads(1) == ["theirs"]


def test_a_nameless_client_is_given_a_name(server):
    with Client(server.port, "") as client:
        assert client.connack.AssignedClientIdentifier


def test_large_payloads(server):
    payload = os.urandom(1_000_000)
    with Client(server.port) as client, Client(server.port) as second:
        client.subscribe("large", 1)
        second.subscribe("large", 1)
        client.publish("large", payload, 1)
        assert client.next().payload == payload and second.next().payload == payload


def test_sys_topics_are_there(server):
    names = """version uptime clients/total clients/connected clients/disconnected clients/active clients/inactive
        clients/expired messages/received messages/sent messages/stored bytes/received bytes/sent
        publish/bytes/received publish/bytes/sent publish/messages/received publish/messages/sent
        publish/messages/dropped store/messages/count store/messages/bytes subscriptions/count
        shared_subscriptions/count heap/current heap/maximum load/connections/1min load/bytes/received/5min
        load/messages/sent/15min load/publish/dropped/1min load/sockets/1min""".split()
    names.append("retained messages/count")
    if brokers.name() == "plimsoll":
        names += ["memory/retained", "memory/sessions", "memory/allocated", "packet/out/count", "connections/socket/count"]
    with Client(server.port) as client:
        client.subscribe("$SYS/#")
        seen, deadline = set(), time.monotonic() + 12
        while not {f"$SYS/broker/{name}" for name in names} <= seen and time.monotonic() < deadline:
            if client.messages.empty():
                time.sleep(0.05)
            else:
                seen.add(client.next().topic)
        missing = {f"$SYS/broker/{name}" for name in names} - seen
        if brokers.name() == "mosquitto":
            missing = {name for name in missing if "load" not in name and "heap" not in name and "expired" not in name}
        assert not missing
