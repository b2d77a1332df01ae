"""Sessions over a crash and over a clean restart: subscriptions, what is in flight, wills, deadlines."""


import pytest

import broker as brokers
from dialog import Dialog
from durable import ENDINGS, durable, logged, persistent, publish, restart, retained, settled, until
from stock import Client, properties

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own promise")


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


def shared_backlog(broker):
    """Twenty messages for the absent members `a` and `b` of a shared subscription."""
    for name in "ab":
        with persistent(broker, name) as member:
            member.subscribe("$share/g/t", 1)
    with Client(broker.port) as publisher:
        for number in range(20):
            publisher.publish("t", str(number), 1)


@ENDINGS
def test_the_backlog_of_a_shared_subscription_comes_back(how):
    with durable() as broker:
        shared_backlog(broker)
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
        shared_backlog(broker)
        restart(broker, how)
        with persistent(broker, "a") as one:
            Client(broker.port, "b", 5, True).end()
            assert sorted(map(int, one.payloads(20))) == list(range(20)) and one.silent()
