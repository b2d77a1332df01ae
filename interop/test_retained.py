"""Life and death of retained messages: ages and quotas by filter, over restarts and reloads; deletion by
filter; who holds what."""

import json
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import paho.mqtt.client as mqtt
import pytest

import broker as brokers
from broker import logged
from durable import durable, restart, until
from session import Session, string
from stock import Client

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own directives")

QUOTA_EXCEEDED = 0x97


def pub(broker, topic, payload, *arguments):
    """Publishes a retained message with mosquitto_pub."""
    what = ["-n"] if payload is None else ["-m", payload]
    command = ["mosquitto_pub", "-p", str(broker.port), "-r", "-t", topic, *what, *arguments]
    subprocess.run(command, check=True, timeout=20, capture_output=True)


def held(broker, topics="#"):
    """The retained messages: {topic: payload}."""
    command = ["mosquitto_sub", "-p", str(broker.port), "-t", topics, "-W", "1", "-F", "%t %p"]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.splitlines()
    return dict(line.split(" ", 1) for line in lines)


class Publisher(Session):
    """A 5.0 client that hears what became of each publish, also of QoS 2 (Paho does not say)."""

    def __init__(self, port):
        super().__init__(port, "publisher")

    def retain(self, topic, payload, qos=1):
        """Publishes a retained message; answers the reason code of PUBACK or PUBREC."""
        identifier = self.identifier()
        self.send(0x30 | qos << 1 | 1, string(topic) + identifier + b"\0" + payload.encode())
        body = self.wait(4 if qos == 1 else 5)
        reason = body[2] if len(body) > 2 else 0
        if qos == 2 and reason < 0x80:
            self.send(0x62, identifier)
            self.wait(7)
        return reason


def rules(broker, text):
    """Puts other rules in force by a reload."""
    kept = [line for line in broker.config.read_text().splitlines() if not line.startswith("retain_")]
    broker.config.write_text("\n".join([*text.splitlines(), *kept]) + "\n")
    before = broker.log_text().count("Reloading config")
    broker.signal(signal.SIGHUP)
    until(lambda: broker.log_text().count("Reloading config") > before)
    time.sleep(0.3)


# --- ages ---


def test_messages_expire_by_the_first_rule_that_matches():
    config = "retain_expiry keep/# never\nretain_expiry fast/+ 2s\nretain_expiry # 6s"
    with brokers.Broker(config=config) as broker:
        for topic in ["keep/a", "fast/a", "fast/a/deep", "other"]:
            pub(broker, topic, "v")
        began = time.monotonic()
        assert set(held(broker)) == {"keep/a", "fast/a", "fast/a/deep", "other"}
        time.sleep(max(0, began + 2.6 - time.monotonic()))
        assert set(held(broker)) == {"keep/a", "fast/a/deep", "other"}
        time.sleep(max(0, began + 6.6 - time.monotonic()))
        assert set(held(broker)) == {"keep/a"}


def test_an_update_begins_anew_and_the_publishers_own_expiry_wins_if_it_is_shorter():
    with brokers.Broker(config="retain_expiry # 4s") as broker:
        pub(broker, "a", "1")
        pub(broker, "own/shorter", "v", "-V", "5", "-D", "publish", "message-expiry-interval", "1")
        pub(broker, "own/longer", "v", "-V", "5", "-D", "publish", "message-expiry-interval", "100")
        time.sleep(2.5)
        pub(broker, "a", "2")
        assert set(held(broker)) == {"a", "own/longer"}
        time.sleep(1)
        assert held(broker) == {"a": "2"}
        with Client(broker.port) as client:
            client.subscribe("a")
            assert 1 <= client.next().properties.MessageExpiryInterval <= 4


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_ages_go_on_over_a_restart(how):
    broker = durable(config="retain_expiry old/# 5s\nretain_limit # count=3\n")
    with broker:
        for topic in ["old/a", "b", "c"]:
            pub(broker, topic, "v", "-q", "1")
        began = time.monotonic()
        restart(broker, how, down=1)
        assert set(held(broker)) == {"old/a", "b", "c"}
        with Publisher(broker.port) as client:
            assert client.retain("d", "v") == QUOTA_EXCEEDED, "counts are there from the start"
            time.sleep(max(0, began + 5.6 - time.monotonic()))
            assert client.retain("d", "v") != QUOTA_EXCEEDED, "what has expired makes room"
        assert set(held(broker)) == {"b", "c", "d"}
        restart(broker, how)
        assert set(held(broker)) == {"b", "c", "d"}, "it is gone from the store too"


# --- quotas ---


@pytest.mark.parametrize("qos", [1, 2])
def test_a_new_topic_beyond_the_quota_is_refused_as_a_whole(qos):
    with brokers.Broker(config="retain_limit q/# count=2\nretain_limit size/# bytes=100") as broker:
        with Publisher(broker.port) as client, Client(broker.port) as other:
            other.subscribe("q/#")
            assert client.retain("q/1", "a", qos) != QUOTA_EXCEEDED
            assert client.retain("q/2", "b", qos) != QUOTA_EXCEEDED
            assert other.payloads(2) == ["a", "b"]
            assert client.retain("q/3", "c", qos) == QUOTA_EXCEEDED
            assert other.silent(), "what the publisher is told is refused reaches nobody"
            assert client.retain("q/1", "an update", qos) != QUOTA_EXCEEDED
            assert client.retain("q/2", "", qos) != QUOTA_EXCEEDED
            assert client.retain("q/3", "c", qos) != QUOTA_EXCEEDED
            assert client.retain("elsewhere", "x", qos) != QUOTA_EXCEEDED
            # Bytes: 6 of the topic and 94 of the payload.
            assert client.retain("size/1", "x" * 95, qos) == QUOTA_EXCEEDED
            assert client.retain("size/1", "x" * 94, qos) != QUOTA_EXCEEDED
            assert client.retain("size/1", "y" * 95, qos) == QUOTA_EXCEEDED
            assert client.retain("size/1", "y" * 90, qos) != QUOTA_EXCEEDED
        found = held(broker)
        assert found.pop("size/1") == "y" * 90
        assert found == {"q/1": "an update", "q/3": "c", "elsewhere": "x"}
        assert logged(broker, "refused by retain_limit q/#: 1 so far, the last one on q/3")


@pytest.mark.parametrize("version, qos", [(4, 0), (4, 1), (4, 2), (5, 0)])
def test_who_cannot_be_told_is_delivered_and_not_retained(version, qos):
    with brokers.Broker(config="retain_limit q/# count=1") as broker:
        with Client(broker.port, version=version) as client, Client(broker.port) as other:
            other.subscribe("q/#", qos=2)
            client.publish("q/1", "kept", qos, retain=True)
            client.publish("q/2", "not kept", qos, retain=True)
            assert other.payloads(2) == ["kept", "not kept"]
        assert held(broker) == {"q/1": "kept"}
        assert "q/2" in broker.log_text()


def test_a_will_beyond_the_quota_is_not_retained():
    with brokers.Broker(config="retain_limit will/# count=0") as broker, Client(broker.port) as other:
        other.subscribe("will/#")
        will = {"topic": "will/1", "payload": "gone", "qos": 1, "retain": True}
        client = Client(broker.port, will=will)
        client.paho.socket().close()
        assert other.payloads(1) == ["gone"]
        assert held(broker) == {}


def test_a_reload_brings_other_rules():
    with durable() as broker:
        with Publisher(broker.port) as client:
            for number in range(3000):
                client.publish(f"a/{number % 3}/{number}", b"v", 0, True)
            assert client.retain("b", "v") != QUOTA_EXCEEDED
            rules(broker, "retain_limit a/1/# count=1005\nretain_expiry a/2/# 1s")
            until(lambda: len(held(broker, "a/2/#")) == 0)
            # Counting is over by now: 1,000 are there, and 5 more may come.
            answers = [client.retain(f"a/1/new/{number}", "v") for number in range(10)]
            assert [answer == QUOTA_EXCEEDED for answer in answers] == [False] * 5 + [True] * 5
            rules(broker, "")
            assert client.retain("a/1/newer", "v") != QUOTA_EXCEEDED
            assert client.retain("a/2/newer", "v") != QUOTA_EXCEEDED
        assert len(held(broker, "a/1/#")) == 1006
        assert len(held(broker, "a/0/#")) == 1000


def test_mistakes_are_said(tmp_path):
    config = tmp_path / "c"
    config.write_text("retain_expiry a/#/b 7d\nretain_limit #\nretain_expiry a 7\n")
    done = subprocess.run(
        [brokers.program(), "check-config", "-c", str(config)], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 3
    said = done.stdout + done.stderr
    assert f"{config}:1: retain_expiry: `a/#/b` is not a topic filter" in said
    assert f"{config}:2: retain_limit: write `retain_limit FILTER count=N bytes=N`" in said
    assert f"{config}:3: retain_expiry: `7` is not a time" in said


# --- the window ---


class Window:
    """A broker with an HTTP listener."""

    def __init__(self, config="", start=durable):
        self.port = brokers.free_port()
        http = f"listener {self.port} 127.0.0.1\nprotocol http_api\nallow_anonymous true"
        self.broker = start(config=config, listener=http)

    def __enter__(self):
        self.broker.start()
        return self

    def __exit__(self, *_):
        self.broker.stop()
        self.broker.remove()

    def ask(self, path, method="GET", **query):
        """A JSON answer."""
        url = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(query)}"
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def ctl(self, *arguments):
        """What `plimsoll ctl` prints."""
        command = [brokers.program(), "ctl", "--url", f"http://127.0.0.1:{self.port}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_filter_deletes_what_a_dry_run_counts():
    with Window() as window:
        broker = window.broker
        with Client(broker.port) as client:
            for number in range(3000):
                client.publish(f"plant/{number % 3}/s{number}", "value", wait=False, retain=True)
            client.publish("$x/y", "v", 1, retain=True)
        dry = window.ask("/api/v1/retained", "DELETE", filter="plant/1/#", dry_run="true")
        assert (dry["messages"], dry["complete"], len(dry["topics"])) == (1000, True, 20)
        assert len(held(broker)) == 3000
        said = window.ctl("delete-retained", "plant/1/#", "--dry-run")
        assert "1000 messages with" in said.stdout and "would be deleted" in said.stdout, said
        with Client(broker.port) as watcher:
            watcher.subscribe("plant/1/none")
            said = window.ctl("delete-retained", "plant/1/#", "--json")
            assert json.loads(said.stdout)["messages"] == 1000
            assert watcher.silent()
        assert len(held(broker)) == 2000
        assert window.ask("/api/v1/retained", "DELETE", filter="#")["messages"] == 2000
        assert window.ask("/api/v1/retained", filter="$x/#")["retained"][0]["topic"] == "$x/y"
        for wrong in [{}, {"filter": "a/#/b"}, {"filter": ""}]:
            with pytest.raises(urllib.error.HTTPError) as error:
                window.ask("/api/v1/retained", "DELETE", **wrong)
            assert error.value.code == 400
        recount = window.ask("/api/v1/recount", "POST")
        assert recount["agrees"], recount
        restart(broker, "kill")
        assert held(broker) == {}
        assert set(held(broker, "$x/#")) == {"$x/y"}


def test_who_holds_the_most_is_found():
    with Window(config="max_queued_messages 0\nmax_inflight_messages 5", start=brokers.Broker) as window:
        port = window.broker.port
        for name, filters in [("left", "big/#"), ("small", "small/#")]:
            with Client(port, name, version=4, clean=False) as client:
                client.subscribe(filters, 1)
        with Client(port, "pub", version=4) as client:
            for _ in range(200):
                client.publish("big/x", "y" * 5000, 1)
            client.publish("small/x", "y", 1)
            for number in range(30):
                client.publish(f"plant/{number % 3}/s{number}", "v" * (number + 1), 1, retain=True)
            top = window.ask("/api/v1/top", limit=2)
            assert [one["client_id"] for one in top["top"]][0] == "left" and len(top["top"]) == 2
            assert top["sessions"] == 3 and top["top"][0]["bytes"] > 1_000_000
            backlog = window.ask("/api/v1/top", by="backlog")["top"][0]
            assert (backlog["client_id"], backlog["backlog_messages"]) == ("left", 200)
            left = window.ask("/api/v1/top", by="left", left_after=0)
            assert (left["left"], left["left_for_ever"]) == (2, 2)
            assert left["top"][0]["expires_in_seconds"] is None and left["top"][0]["away_seconds"] >= 0
            window.ask("/api/v1/top", by="growth")
            for _ in range(50):
                client.publish("small/x", "y" * 1000, 1)
            growth = window.ask("/api/v1/top", by="growth")
            assert growth["top"][0]["client_id"] == "small" and growth["top"][0]["growth_bytes"] > 50_000
            assert growth["growth_window_seconds"] > 1.9
        prefixes = window.ask("/api/v1/top", of="prefixes", by="count", depth=1)
        assert prefixes["top"][0]["prefix"] in ("plant", "$SYS") and prefixes["prefixes"] == 2
        by_bytes = window.ask("/api/v1/top", of="prefixes", by="bytes", depth=2)
        plants = [one for one in by_bytes["top"] if one["prefix"].startswith("plant/")]
        assert {one["prefix"]: one["messages"] for one in plants} == {f"plant/{n}": 10 for n in range(3)}
        assert "left" in window.ctl("top", "--by", "backlog").stdout
        assert "plant/2" in window.ctl("top", "prefixes").stdout
        with pytest.raises(urllib.error.HTTPError) as error:
            window.ask("/api/v1/top", of="prefixes", by="left")
        assert error.value.code == 400


def test_a_subscriber_that_takes_nothing_is_slow():
    with Window(start=brokers.Broker) as window:
        port = window.broker.port
        # It asks for QoS 1 and never acknowledges.
        deaf = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "deaf", manual_ack=True)
        deaf.connect("127.0.0.1", port, 60)
        deaf.subscribe("a/#", 1)
        deaf.loop_start()
        with Client(port, "idle") as idle, Client(port, "pub") as client:
            idle.subscribe("none")
            time.sleep(0.5)
            for _ in range(50):
                client.publish("a/b", "v", 1)
            time.sleep(2)
            slow = window.ask("/api/v1/top", by="slow", slow_after=1)
            assert (slow["slow"], slow["top"][0]["client_id"]) == (1, "deaf")
            assert slow["top"][0]["backlog_messages"] == 50
            assert 1 <= slow["top"][0]["still_seconds"] <= 10
        deaf.loop_stop()
        deaf.disconnect()
