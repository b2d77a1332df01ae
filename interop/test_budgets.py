"""Budgets of memory: what is left off for whom it is short, and that others are served."""

import socket
import subprocess
import time

import broker as brokers
import paho.mqtt.client as mqtt
import pytest
from broker import free_port, logged
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from raw import Raw, frame, string
from test_http_api import MEANT, broker_with_api, until

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own budgets")
KIB = 1024
QUOTA_EXCEEDED = 0x97


class Client:
    """A 5.0 client of a user, which keeps its session, and what it was told."""

    def __init__(self, port, name, user=None, manual=False):
        self.got, self.told, self.connack, self.granted = [], [], None, []
        self.paho = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
        if user is not None:
            self.paho.username_pw_set(user, "")
        self.paho.on_connect = lambda c, u, f, reason, p: setattr(self, "connack", reason.value)
        self.paho.on_message = lambda c, u, message: self.got.append(message.payload)
        self.paho.on_publish = lambda c, u, m, reason, p: self.told.append(reason.value)
        self.paho.on_subscribe = lambda c, u, m, reasons, p: self.granted.extend(r.value for r in reasons)
        self.paho.reconnect_delay_set(60, 60)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        self.paho.connect("127.0.0.1", port, clean_start=False, properties=properties)
        self.paho.loop_start()
        until(lambda: self.connack is not None)

    def subscribe(self, topic, qos=1):
        """Answers the reason code."""
        before = len(self.granted)
        self.paho.subscribe(topic, qos)
        until(lambda: len(self.granted) > before)
        return self.granted[-1]

    def publish(self, topic, payload, retain=False):
        """Answers the reason code of PUBACK."""
        self.paho.publish(topic, payload, 1, retain).wait_for_publish(8)
        return self.told[-1]

    def leave(self):
        self.paho.disconnect()
        self.paho.loop_stop()


def budget(broker, kind, name):
    """A budget as the API tells of it."""
    answer = broker.api.get("/api/v1/memory")
    found = [one for one in answer["budgets"] if (one["kind"], one["name"]) == (kind, name)]
    assert len(found) == 1, answer["budgets"]
    return found[0]


def test_a_users_queues_end_at_its_budget_and_others_are_served():
    config = "persistence false\nmax_queued_messages 0\nmemory_budget_user small 128KiB\nmemory_budget_user * 8MiB\n"
    with broker_with_api(config) as broker:
        away, other = Client(broker.port, "away", "small"), Client(broker.port, "other", "large")
        for one in (away, other):
            assert one.subscribe("load") == 1
            one.leave()
        served = Client(broker.port, "served", "third")
        served.subscribe("load")
        writer = Client(broker.port, "writer")
        told = [writer.publish("load", b"%4d" % number * 256) for number in range(200)]
        assert told == [0] * 200, "somebody has taken each"
        until(lambda: len(served.got) == 200)
        small = budget(broker, "user", "small")
        assert (small["step"], small["named"], small["sessions"]) == ("refuse_new", True, 1), small
        assert 0.84 * 128 * KIB < small["used_bytes"] < 0.9 * 128 * KIB, small
        queued = 200 - small["actions"]["publishes_refused"]
        assert 80 < queued < 110, small
        assert logged(broker, "memory_budget_user small: refuse_new,"), broker.log_text()
        assert budget(broker, "user", "large")["used_bytes"] > 200 * KIB
        alarms = [one for one in broker.api.get("/api/v1/alarms")["alarms"] if one["name"] == "budget"]
        assert [one["severity"] for one in alarms] == ["warning"] and "memory_budget_user small: refuse_new is in force" in alarms[0]["text"], alarms
        metrics = broker.api.ask("/metrics")[2].decode()
        assert 'plimsoll_alarms{name="budget"} 1' in metrics
        labels = 'kind="user",name="small",number=""'
        assert f"plimsoll_memory_budget_bytes{{{labels}}} {128 * KIB}" in metrics
        assert f'plimsoll_memory_budget_actions_total{{{labels},action="publishes_refused"}} {200 - queued}' in metrics
        assert 'name="large"' not in metrics, "users without a line have no labels"
        assert 'plimsoll_memory_budget_users{step="clear"} 3' in metrics, metrics
        assert broker.api.ask("/api/v1/recount", "POST", MEANT)[2].count(b'"budgets_differing":0') == 1
        # Nobody else is there: now the publisher hears of it.
        for one in (other, served):
            Client(broker.port, one.paho._client_id.decode(), "gone").paho.unsubscribe("load")
        until(lambda: writer.publish("load", b"x" * 1000) == QUOTA_EXCEEDED)
        # Its client takes what was queued, in order and whole; then there is room again.
        back = Client(broker.port, "away", "small")
        until(lambda: len(back.got) == queued)
        assert back.got == [b"%4d" % number * 256 for number in range(queued)]
        until(lambda: budget(broker, "user", "small")["step"] == "clear")
        assert writer.publish("load", b"again") == 0
        shown = subprocess.run([brokers.program(), "ctl", "--url", f"http://127.0.0.1:{broker.api.port}", "memory"], capture_output=True, text=True, timeout=20, check=False)
        assert "user       small" in shown.stdout and "128 KiB" in shown.stdout, shown


def test_what_is_new_of_a_listener_is_refused_and_a_reload_lifts_it():
    narrow = free_port()
    below = f"listener {narrow} 127.0.0.1\nallow_anonymous true\nlistener_memory_budget 64KiB\n"
    with broker_with_api("persistence false\n", listener=f"allow_anonymous true\n{below}") as broker:
        known = Client(narrow, "known")
        assert known.subscribe("load") == 1
        known.leave()
        writer = Client(broker.port, "writer")
        until(lambda: writer.publish("load", b"x" * 1000) == QUOTA_EXCEEDED)
        # What is queued leaves room for a few new clients, who may not subscribe; then for none.
        assert Client(narrow, "first").subscribe("a") == QUOTA_EXCEEDED
        listener = budget(broker, "listener", str(narrow))
        assert (listener["step"], listener["actions"]["subscriptions_refused"]) == ("refuse_new", 1), listener
        newcomers = [Client(narrow, f"new-{number}") for number in range(40)]
        codes = [one.connack for one in newcomers]
        assert codes[0] == 0 and codes[-1] == QUOTA_EXCEEDED, codes
        assert Client(broker.port, "elsewhere").subscribe("a") == 1
        back = Client(narrow, "known")
        assert back.connack == 0, "who has a session comes back"
        until(lambda: len(back.got) == len(writer.told) - 1)
        broker.config.write_text(broker.config.read_text().replace("listener_memory_budget 64KiB\n", ""))
        assert broker.api.status("/api/v1/reload", "POST", MEANT) == 200
        until(lambda: broker.api.get("/api/v1/memory")["budgets"] == [])
        assert Client(narrow, "another").subscribe("a") == 1


def test_what_is_held_below_a_topic_ends_at_its_budget():
    with broker_with_api("persistence false\nmax_queued_messages 0\nmemory_budget_topic plant/7 32KiB\n") as broker:
        away, here = Client(broker.port, "away"), Client(broker.port, "here")
        for one in (away, here):
            assert one.subscribe("plant/#") == 1
        away.leave()
        writer = Client(broker.port, "writer")
        assert [writer.publish("plant/7/a", b"%4d" % number * 256) for number in range(45)] == [0] * 45
        until(lambda: len(here.got) == 45)
        seven = budget(broker, "topic", "plant/7")
        assert seven["step"] == "refuse_new" and 0.8 * 32 * KIB < seven["used_bytes"] < 0.9 * 32 * KIB, seven
        kept = 45 - seven["actions"]["publishes_refused"]
        assert seven["actions"]["publishers_slowed"] > 0 and 15 < kept < 30, seven
        assert writer.publish("plant/7/kept", b"x" * 1000, retain=True) == QUOTA_EXCEEDED
        assert writer.publish("plant/70", b"beside") == 0
        # 3.1.1 is not told: who is there gets it, and nothing is retained.
        old = Raw(broker.port, "old", clean=True)
        old.socket.sendall(frame(0x33, string("plant/7/old") + b"\x00\x07" + b"x" * 100))
        assert old.read() == (0x40, b"\x00\x07")
        until(lambda: here.got[-1] == b"x" * 100)
        assert broker.api.get("/api/v1/retained", filter="plant/#")["retained"] == []
        assert logged(broker, "memory_budget_topic plant/7: "), broker.log_text()
        assert broker.api.ask("/api/v1/recount", "POST", MEANT)[2].count(b'"budgets_differing":0') == 1
        top = broker.api.get("/api/v1/top", of="prefixes", by="backlog", depth=2)["top"]
        assert [(one["prefix"], one["messages"]) for one in top] == [("plant/7", kept), ("plant/70", 1)], top
        back = Client(broker.port, "away")
        until(lambda: len(back.got) == kept + 1)
        assert writer.publish("plant/7/kept", b"x" * 1000, retain=True) == 0
        grown = broker.api.get("/api/v1/top", of="prefixes", by="growth", depth=2)
        assert grown["growth_window_seconds"] > 1 and grown["prefixes"] >= 1, grown


def test_account_budgets_refuse_what_would_need_more():
    """`memory_budget ACCOUNT`, each with what it is for."""
    lines = "".join(f"memory_budget {line}\n" for line in ("retained 200KiB", "subscriptions 200KiB", "queues 100KiB"))
    with broker_with_api(f"persistence false\nmax_queued_messages 0\n{lines}") as broker:
        writer = Client(broker.port, "writer")
        # Retained: full at some time, then refused and said so; what is there may be replaced and deleted.
        told = [writer.publish(f"retained/{number}", b"x" * 1000, retain=True) for number in range(300)]
        kept = told.index(QUOTA_EXCEEDED)
        assert 100 < kept < 250 and set(told[kept:]) == {QUOTA_EXCEEDED}, told
        assert broker.api.get("/api/v1/retained", filter="retained/#", limit=1000)["retained"][-1]
        assert writer.publish("retained/0", b"y" * 1000, retain=True) != QUOTA_EXCEEDED
        assert writer.publish("retained/0", b"", retain=True) != QUOTA_EXCEEDED
        # Subscriptions.
        reader = Client(broker.port, "reader")
        for first in range(0, 6000, 1000):
            reader.paho.subscribe([(f"some/longer/filter/{first + number}", 0) for number in range(1000)])
        until(lambda: len(reader.granted) == 6000)
        assert reader.granted[0] == 0 and reader.granted[-1] == QUOTA_EXCEEDED

        def is_full(name):
            account = next(one for one in broker.api.get("/api/v1/memory")["accounts"] if one["name"] == name)
            return account["bytes"] >= 0.9 * account["budget_bytes"]

        for name in ("retained", "subscriptions"):
            until(lambda name=name: is_full(name))
        # Others go on: a message that nobody has to keep is delivered.
        taker = Client(broker.port, "taker")
        assert taker.subscribe("plain") == QUOTA_EXCEEDED, "all of them are full"


def test_the_queues_account_refuses_only_what_is_queued():
    with broker_with_api("persistence false\nmax_queued_messages 0\nmemory_budget queues 100KiB\n") as broker:
        away, here = Client(broker.port, "away"), Client(broker.port, "here")
        assert (away.subscribe("load"), here.subscribe("plain")) == (1, 1)
        away.leave()
        writer = Client(broker.port, "writer")
        told = [writer.publish("load", b"x" * 1000) for _ in range(150)]
        taken = told.index(QUOTA_EXCEEDED)
        assert 60 < taken < 110 and set(told[taken:]) == {QUOTA_EXCEEDED}, told
        assert writer.publish("plain", b"seen") == 0
        until(lambda: here.got == [b"seen"])
        back = Client(broker.port, "away")
        until(lambda: len(back.got) == taken)
        assert writer.publish("load", b"again") == 0


def test_a_full_http_listener_keeps_nobody_from_another():
    public = free_port()
    below = f"allow_anonymous true\nlistener {public} 127.0.0.1\nprotocol http_api\nallow_anonymous true\n"
    with broker_with_api("http_max_connections 4\nhttp_timeout 60\n", listener=below) as broker:
        idle = [socket.create_connection(("127.0.0.1", public), 5) for _ in range(8)]
        time.sleep(0.3)
        with pytest.raises(TimeoutError):
            waiting = socket.create_connection(("127.0.0.1", public), 5)
            waiting.settimeout(0.5)
            waiting.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            waiting.recv(100)
        assert broker.api.status("/healthz") == 200
        for one in idle:
            one.close()
        waiting.settimeout(10)
        assert waiting.recv(100).startswith(b"HTTP/1.1 200")
        waiting.close()
