"""The way of a publish, as a collector, the API and `plimsoll ctl trace` tell it."""

import http.server
import json
import threading
import time

import broker as brokers
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from test_http_api import MEANT, broker_with_api, client, ctl, until

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own traces")
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """An OTLP receiver that keeps what it gets, and fails first if told so."""

    def __init__(self, failures=0):
        self.requests, self.failures = [], failures
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.failures -= 1
                self.send_response(503 if collector.failures >= 0 else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()
                if collector.failures < 0:
                    collector.requests.append((self.path, self.headers, json.loads(body)))

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/v1/traces"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def publisher(broker, *publishes):
    """Publishes (topic, QoS) at MQTT 5.0, as a part of a trace."""
    one = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="sensor", protocol=mqtt.MQTTv5)
    one.connect("127.0.0.1", broker.port)
    one.loop_start()
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("other", "x"), ("traceparent", f"00-{TRACE}-{SPAN}-01")]
    for topic, qos in publishes:
        one.publish(topic, "21.5", qos, properties=properties).wait_for_publish(10)
    one.disconnect()
    one.loop_stop()


def asked(broker, body, answer):
    """Asks for a trace on a thread; the answer goes into a list. Waits until publishes are followed."""

    def ask():
        answer.append(broker.api.ask("/api/v1/trace", "POST", {"Content-Type": "application/json"}, json.dumps(body)))

    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: "are traced for" in broker.log_text())
    return thread


def spans(document):
    (resource,) = document["resourceSpans"]
    assert {"key": "service.name", "value": {"stringValue": "plimsoll"}} in resource["resource"]["attributes"]
    (scope,) = resource["scopeSpans"]
    return scope["spans"]


def attribute(span, key):
    (value,) = (one["value"] for one in span["attributes"] if one["key"] == key)
    (value,) = value.values()
    return value


def times(span):
    return int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])


def test_a_stored_publish_to_two_subscribers_is_a_trace_at_the_collector(tmp_path):
    with Collector(failures=1) as collector:
        config = f"persistence true\npersistence_location {tmp_path / 'data'}/\ndurability fsync\notlp_endpoint {collector.url}\notlp_header X-Token: secret\n"
        with broker_with_api(config) as broker, client(broker, "a", "plant/#"), client(broker, "b", "plant/+"):
            begun = time.time_ns()
            answer = []
            thread = asked(broker, {"filter": "plant/#", "publishes": 1, "seconds": 30}, answer)
            publisher(broker, ("elsewhere", 1), ("plant/7", 1))
            thread.join()
            ended = time.time_ns()
            until(lambda: collector.requests)
            status, _, body = answer[0]
            assert status == 200
            until(lambda: 'plimsoll_trace_spans_total{result="exported"} 7' in broker.api.ask("/metrics")[2].decode())
    (path, headers, document), = collector.requests
    assert (path, headers["X-Token"], headers["Content-Type"]) == ("/v1/traces", "secret", "application/json")
    assert json.loads(body) == document
    root, *steps = spans(document)
    assert (root["name"], root["traceId"], root["parentSpanId"]) == ("publish plant/7", TRACE, SPAN)
    assert attribute(root, "messaging.client.id") == "sensor"
    assert attribute(root, "messaging.message.body.size") == "4"
    assert attribute(root, "network.peer.address") == "127.0.0.1"
    named = {}
    for step in steps:
        assert (step["traceId"], step["parentSpanId"]) == (TRACE, root["spanId"])
        named.setdefault(step["name"], []).append(step)
    assert {name: len(found) for name, found in named.items()} == {"read": 1, "route": 1, "store": 1, "deliver": 2, "acknowledge": 1}
    (read,), (route,), (store,), (acknowledge,) = (named[name] for name in ("read", "route", "store", "acknowledge"))
    # Received, routed, stored, acknowledged: in this order, and at the time of this test.
    order = [begun, *times(read), *times(route), times(store)[1], *times(acknowledge), ended]
    assert order == sorted(order), order
    assert times(store)[1] > times(route)[1], "it waited for the disk"
    assert {attribute(step, "messaging.client.id") for step in named["deliver"]} == {"a", "b"}
    for step in named["deliver"]:
        assert [event["name"] for event in step["events"]] == ["written", "confirmed"]
        assert times(route)[1] <= int(step["events"][0]["timeUnixNano"]) <= times(step)[1]
    assert times(root)[0] == times(read)[0] and times(root)[1] == max(times(step)[1] for step in steps)


def test_ctl_shows_a_table_and_one_asks_at_a_time():
    with broker_with_api() as broker, client(broker, "a", "plant/#"):
        answer = []
        thread = asked(broker, {"filter": "plant/#", "publishes": 1, "seconds": 30}, answer)
        assert broker.api.status("/api/v1/trace", "POST", {**MEANT}, '{"filter": "#"}') == 409
        publisher(broker, ("plant/0", 0))
        thread.join()
        (root, *steps) = spans(json.loads(answer[0][2]))
        assert [step["name"] for step in steps] == ["read", "route", "deliver"]
        result = []
        thread = threading.Thread(target=lambda: result.append(ctl(broker, "trace", "plant/#", "--count", "2", "--seconds", "20")))
        thread.start()
        until(lambda: broker.log_text().count("are traced for") == 2)
        publisher(broker, ("plant/1", 1), ("plant/2", 2))
        thread.join()
        done = result[0]
        assert done.returncode == 0, done.stderr
        first, second = done.stdout.split("\n\n")
        assert first.startswith("publish plant/1 from sensor, QoS 1, 4 bytes: ")
        assert second.startswith("publish plant/2 from sensor, QoS 2, 4 bytes: ")
        table = [line.split() for line in first.splitlines()[1:]]
        assert [line[0] for line in table] == ["step", "read", "route", "deliver", "acknowledge"]
        nothing = ctl(broker, "trace", "nowhere", "--seconds", "1")
        assert (nothing.returncode, nothing.stdout) == (1, "No publish came on nowhere in 1 s.\n")
        assert broker.api.get("/api/v1/memory")["accounts"]
        until(lambda: next(one["bytes"] for one in broker.api.get("/api/v1/memory")["accounts"] if one["name"] == "tools") < 2 * 1024 * 1024)


def test_a_broker_that_stops_answers_who_waits():
    with broker_with_api() as broker:
        answer = []
        thread = asked(broker, {"filter": "#", "seconds": 60}, answer)
        begun = time.monotonic()
        broker.stop()
        thread.join(20)
        assert not thread.is_alive() and time.monotonic() - begun < 20
        assert answer and answer[0][0] == 200 and spans(json.loads(answer[0][2])) == []
