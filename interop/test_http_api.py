"""The HTTP listener with real clients: metrics, API, changes, access, bounds, and `plimsoll ctl`."""

import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.parse

import broker as brokers
import paho.mqtt.client as mqtt
import pytest
from broker import logged
from durable import STAY
from pki import Authority

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own API")
MEANT = {"X-Requested-With": "test"}
MIB = 1024 * 1024


class Api:
    """An HTTP listener."""

    def __init__(self, port, user=None, tls=None, host="127.0.0.1"):
        self.port, self.tls, self.host = port, tls, host
        self.headers = {}
        if user:
            self.headers["Authorization"] = "Basic " + base64.b64encode(user.encode()).decode()

    def ask(self, path, method="GET", headers=None, body=None):
        """(status, headers, body) of a request."""
        kind = http.client.HTTPSConnection if self.tls else http.client.HTTPConnection
        extra = {"context": self.tls} if self.tls else {}
        connection = kind(self.host, self.port, timeout=10, **extra)
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def get(self, path, **query):
        """The JSON of a path."""
        status, _, body = self.ask(path + ("?" + urllib.parse.urlencode(query) if query else ""))
        assert status == 200, (path, status, body)
        return json.loads(body)

    def status(self, path, method="GET", headers=None, body=None):
        return self.ask(path, method, headers, body)[0]


@contextlib.contextmanager
def broker_with_api(config="", listener="allow_anonymous true\n", start=True):
    """A broker and its API on this machine."""
    port = brokers.free_port()
    broker = brokers.Broker(config=f"{STAY}sys_interval 1\n{config}", listener=f"listener {port} 127.0.0.1\nprotocol http_api\n{listener}")
    broker.api = Api(port)
    try:
        yield broker.start() if start else broker
    finally:
        broker.stop()
        broker.remove()


@contextlib.contextmanager
def client(broker, name, *filters, clean=False, **publishes):
    """A connected MQTT client."""
    one = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, clean_session=clean)
    one.gone = []
    one.on_disconnect = lambda c, u, f, reason, p: one.gone.append(reason)
    one.reconnect_delay_set(60, 60)
    one.connect("127.0.0.1", broker.port)
    one.loop_start()
    until(one.is_connected)
    for name in filters:
        one.subscribe(name, 1)
    try:
        yield one
    finally:
        one.loop_stop()
        one.disconnect()


def until(condition, seconds=8):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "never true"
        time.sleep(0.05)


def publish(broker, *pairs):
    """Retained messages."""
    with client(broker, "publisher", clean=True) as one:
        for topic, payload in pairs:
            one.publish(topic, payload, 1, retain=True).wait_for_publish(5)


def ctl(broker, *words, user=None, env=None, **options):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLIMSOLL_")}
    environment |= {"HOME": str(broker.directory), "PLIMSOLL_URL": f"http://127.0.0.1:{broker.api.port}"} | (env or {})
    return subprocess.run([brokers.program(), "ctl", *words], capture_output=True, text=True, timeout=30, env=environment, **options)


@pytest.fixture(scope="module")
def broker():
    with broker_with_api() as one:
        yield one


def test_every_documented_route_answers_as_documented(broker):
    document = broker.api.get("/api/v1/openapi.json")
    assert document["openapi"].startswith("3.1")
    with client(broker, "documented"):
        tried = 0
        # Those that send the client away come last.
        for path, operations in sorted(document["paths"].items(), key=lambda item: "delete" in item[1]):
            for method, operation in sorted(operations.items(), key=lambda item: item[0] != "get"):
                query = {"/api/v1/retained": "?filter=none/at/all&dry_run=true", "/api/v1/clients": "?client_id=documented", "/api/v1/sessions": "?client_id=documented"}
                query = query.get(path, "") if method == "delete" else ""
                sent = '{"filter": "none/at/all", "seconds": 1}' if path == "/api/v1/trace" else None
                # Who is asked for has to be there.
                named = "{id}" in path or "client_id" in query
                with client(broker, "documented") if named else contextlib.nullcontext():
                    status, headers, body = broker.api.ask(path.replace("{id}", "documented") + query, method.upper(), MEANT, sent)
                assert str(status) in operation["responses"] and 200 <= status < 300, (method, path, status, body)
                kinds = operation["responses"][str(status)].get("content", {})
                assert not kinds or headers.get_content_type() in kinds, (path, headers)
                tried += 1
                if named and method == "delete":
                    until(lambda: broker.api.status("/api/v1/clients/documented") == 404 or not broker.api.get("/api/v1/clients/documented")["connected"])
        assert tried >= 25


def test_metrics_are_what_prometheus_reads(broker):
    assert shutil.which("promtool"), "promtool is not installed: .ci/run does that"
    status, headers, text = broker.api.ask("/metrics")
    assert status == 200 and headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=30)
    assert checked.returncode == 0 and not checked.stderr, checked.stderr.decode() + checked.stdout.decode()
    _, headers, text = broker.api.ask("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0, text/plain;q=0.5"})
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0") and text.endswith(b"# EOF\n")


def figures(broker):
    lines = broker.api.ask("/metrics")[2].decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def test_metrics_tell_what_happened(broker):
    before = figures(broker)
    with client(broker, "Zebra", "count/#"):
        publish(broker, *[(f"count/{number}", b"x" * 100) for number in range(20)])
        until(lambda: figures(broker)['plimsoll_publishes_total{direction="sent"}'] >= before['plimsoll_publishes_total{direction="sent"}'] + 20)
        now = figures(broker)
        gained = {name: now[name] - before.get(name, 0) for name in now}
        assert gained['plimsoll_publishes_total{direction="received"}'] == 20
        assert gained['plimsoll_publish_payload_bytes_total{direction="received"}'] == 2000
        assert gained["plimsoll_connects_total"] == 2
        assert now['plimsoll_clients{state="connected"}'] >= 1
        assert gained["plimsoll_retained_messages"] >= 20
        until(lambda: figures(broker)['plimsoll_memory_account_bytes{account="retained"}'] > 2000)
        assert not any("Zebra" in name for name in now), "no client identifier is a label"
    assert now["plimsoll_memory_rss_bytes"] > 4 * MIB and now["process_resident_memory_bytes"] > 4 * MIB
    # What HTTP itself keeps the engine from others.
    assert now['plimsoll_http_engine_hold_seconds_bucket{le="0.1"}'] == now["plimsoll_http_engine_hold_seconds_count"]


def test_forms_of_mosquitto(broker):
    assert broker.api.ask("/api/v1/version")[2].decode().count(".") == 2
    listeners = broker.api.get("/api/v1/listeners")["listeners"]
    assert [(one["port"], one["protocol"], one["tls"], one["mtls"], one["allow_anonymous"]) for one in listeners] == [
        (broker.port, "mqtt", False, False, True),
        (broker.api.port, "httpapi", False, False, True),
    ]
    until(lambda: "$SYS/broker/uptime" in broker.api.get("/api/v1/systree"))
    tree = broker.api.get("/api/v1/systree")
    assert isinstance(tree["$SYS/broker/uptime"], int) and isinstance(tree["$SYS/broker/clients/connected"], int)


def test_clients_in_pages_by_search_and_each_once(broker):
    with contextlib.ExitStack() as stack:
        names = [f"page/{number:02}" for number in range(25)]
        for name in names:
            stack.enter_context(client(broker, name, clean=True))
        found, cursor = [], None
        for _ in range(20):
            query = {"limit": 7, "prefix": "page/"} | ({"cursor": cursor} if cursor else {})
            page = broker.api.get("/api/v1/clients", **query)
            assert len(page["clients"]) <= 7
            found += [one["client_id"] for one in page["clients"]]
            cursor = page["cursor"]
            if cursor is None:
                break
        assert sorted(found) == names
        found = broker.api.get("/api/v1/clients", search="ge/1")["clients"]
        assert sorted(one["client_id"] for one in found) == names[10:20]
    for query in ("limit=0", "limit=1001", "cursor=x", "serach=1", "connected=maybe"):
        status, headers, body = broker.api.ask("/api/v1/clients?" + query)
        assert status == 400 and headers["Content-Type"] == "application/problem+json", (query, body)


def test_one_client_and_its_subscriptions(broker):
    with client(broker, "one/client +#?%", "own/#", "$share/group/other/+"):
        path = "/api/v1/clients/" + urllib.parse.quote("one/client +#?%", safe="")
        until(lambda: broker.api.get(path)["subscriptions"] == 2)
        one = broker.api.get(path)
        assert one["connected"] and one["version"] == "3.1.1" and one["listener"] == str(broker.port) and one["keep_alive_seconds"] == 60
        assert sorted(each["filter"] for each in one["subscription_list"]) == ["$share/group/other/+", "own/#"]
        of_client = broker.api.get("/api/v1/subscriptions", client="one/client +#?%", limit=1)
        assert len(of_client["subscriptions"]) == 1 and of_client["total"] == 2
        rest = broker.api.get("/api/v1/subscriptions", client="one/client +#?%", cursor=of_client["cursor"])
        assert rest["cursor"] is None and rest["subscriptions"] != of_client["subscriptions"]
        by_filter = broker.api.get("/api/v1/subscriptions", search="other")["filters"]
        assert by_filter == [{"filter": "other/+", "subscribers": 1, "clients": ["one/client +#?%"]}]
    assert broker.api.status("/api/v1/clients/nobody") == 404


def test_queues_of_absent_sessions_are_seen(broker):
    with client(broker, "absent", "queue/#"):
        until(lambda: broker.api.get("/api/v1/clients/absent")["subscriptions"] == 1)
    until(lambda: not broker.api.get("/api/v1/clients/absent")["connected"])
    publish(broker, *[("queue/x", str(number)) for number in range(12)])
    absent = broker.api.get("/api/v1/sessions", connected="false", search="absent")["clients"]
    assert [(one["queued"], one["connected"]) for one in absent] == [(12, False)] and absent[0]["lost_at"] > 1e9
    assert "absent" not in [one["client_id"] for one in broker.api.get("/api/v1/clients")["clients"]]
    assert figures(broker)["plimsoll_messages_held"] >= 12 or time.sleep(6) or figures(broker)["plimsoll_messages_held"] >= 12
    assert broker.api.status("/api/v1/sessions/absent", "DELETE", MEANT) == 204
    assert broker.api.status("/api/v1/clients/absent") == 404


def test_retained_by_filter_in_pages(broker):
    publish(broker, *[(f"shelf/{room}/{number}", f"{room}{number}") for room in "ab" for number in range(30)], ("shelf/binary", bytes([255, 0, 7])), ("shelf/long", "ü" * 200))
    found, cursor = [], None
    while True:
        page = broker.api.get("/api/v1/retained", filter="shelf/+/+", limit=13, **({"cursor": cursor} if cursor else {}))
        found += page["retained"]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert sorted((one["topic"], one["payload"]) for one in found) == sorted((f"shelf/{room}/{number}", f"{room}{number}") for room in "ab" for number in range(30))
    binary, long = broker.api.get("/api/v1/retained", filter="shelf/+", preview=5)["retained"]
    assert base64.b64decode(binary["payload_base64"]) == bytes([255, 0, 7]) and binary["size_bytes"] == 3 and not binary["truncated"]
    assert (long["payload"], long["size_bytes"], long["truncated"], long["qos"]) == ("üü", 400, True, 1)
    assert broker.api.get("/api/v1/retained", filter="shelf/a/7")["retained"][0]["payload"] == "a7"
    for wrong in ("a/#/b", "a+", ""):
        assert broker.api.status("/api/v1/retained?" + urllib.parse.urlencode({"filter": wrong})) == 400, wrong


def test_kick(broker):
    with client(broker, "kicked") as one:
        assert broker.api.status("/api/v1/clients/kicked", "DELETE", MEANT) == 204
        until(lambda: one.gone)
    until(lambda: not broker.api.get("/api/v1/clients/kicked")["connected"])
    assert broker.api.status("/api/v1/clients/kicked", "DELETE", MEANT) == 409
    assert broker.api.status("/api/v1/clients/nobody", "DELETE", MEANT) == 404
    assert logged(broker, "Client kicked disconnected by somebody on this machine.")


def test_pages_of_others_change_nothing(broker):
    with client(broker, "bait") as one:
        path = "/api/v1/clients/bait"
        for headers in (
            {},
            {"Content-Type": "text/plain"},
            {"Content-Type": "application/x-www-form-urlencoded"},
            MEANT | {"Origin": "https://evil.example"},
            MEANT | {"Sec-Fetch-Site": "cross-site"},
            MEANT | {"Sec-Fetch-Site": "same-site"},
            MEANT | {"Host": "evil.example"},
        ):
            assert broker.api.status(path, "DELETE", headers) == 403, headers
        status, headers, _ = broker.api.ask("/api/v1/memory", headers={"Origin": "https://evil.example"})
        assert status == 200 and "Access-Control-Allow-Origin" not in headers
        assert broker.api.status("/api/v1/memory", headers={"Host": "evil.example"}) == 403, "DNS rebinding"
        assert broker.api.status("/api/v1/memory", "OPTIONS") in (403, 405)
        assert not one.gone
        own = {"Origin": f"http://127.0.0.1:{broker.api.port}", "Content-Type": "application/json; charset=utf-8", "Sec-Fetch-Site": "same-origin"}
        assert broker.api.status(path, "DELETE", own) == 204


def test_health_and_memory_and_recount(broker):
    assert broker.api.get("/healthz") == {"status": "ok"} and broker.api.get("/readyz") == {"status": "ok"}
    memory = broker.api.get("/api/v1/memory")
    assert memory["accounted_bytes"] == sum(one["bytes"] for one in memory["accounts"])
    assert memory["rss_bytes"] > memory["allocated_bytes"] > 0
    status, _, body = broker.api.ask("/api/v1/recount", "POST", MEANT)
    counted = json.loads(body)
    assert status == 200 and counted["agrees"], counted
    lines = broker.api.get("/api/v1/history")
    assert lines["columns"][0] == "time" and all(len(row) == len(lines["columns"]) for row in lines["rows"])
    latest = lines["rows"][-1][0]
    until(lambda: broker.api.get("/api/v1/history", since=latest)["rows"])
    assert all(row[0] > latest for row in broker.api.get("/api/v1/history", since=latest)["rows"])


def test_heap_profile_is_gzipped_pprof(broker):
    status, headers, body = broker.api.ask("/api/v1/heap")
    assert status == 200 and body[:2] == b"\x1f\x8b" and "plimsoll-heap.pb.gz" in headers["Content-Disposition"]


def test_reload_tells_what_is_wrong_and_listeners_come_and_go():
    with broker_with_api() as broker:
        good = broker.config.read_text()
        status, _, body = broker.api.ask("/api/v1/reload", "POST", MEANT)
        assert status == 200 and json.loads(body)["reloaded"]
        broker.config.write_text(good + "no_such_thing 1\nmax_qos 7\n")
        status, _, body = broker.api.ask("/api/v1/reload", "POST", MEANT)
        detail = json.loads(body)["detail"]
        assert status == 422 and "no_such_thing" in detail and len(detail.splitlines()) == 2
        assert [one["name"] for one in broker.api.get("/api/v1/alarms")["alarms"]] == ["reload"]
        # A second listener opens, and the answer that says so still arrives.
        second = Api(brokers.free_port())
        broker.config.write_text(good + f"listener {second.port} 127.0.0.1\nprotocol http_api\nallow_anonymous true\n")
        assert broker.api.status("/api/v1/reload", "POST", MEANT) == 200
        assert second.get("/healthz")["status"] == "ok" and broker.api.get("/api/v1/alarms")["alarms"] == []
        # The listener that it was asked through goes.
        broker.config.write_text(good.replace(f"listener {broker.api.port} ", f"listener {second.port} "))
        assert broker.api.status("/api/v1/reload", "POST", MEANT) == 200
        assert second.get("/healthz")["status"] == "ok"
        with pytest.raises(OSError):
            broker.api.get("/healthz")
        # HTTP becomes MQTT at the same port, and the other way round.
        broker.config.write_text(good.replace(f"listener {broker.api.port} ", f"listener {second.port} ").replace("protocol http_api", "protocol mqtt"))
        broker.signal(signal.SIGHUP)
        until(lambda: mqtt_answers(second.port))
        broker.config.write_text(good.replace(f"listener {broker.api.port} ", f"listener {second.port} "))
        broker.signal(signal.SIGHUP)
        until(lambda: http_answers(second))


def mqtt_answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2) as one:
        one.settimeout(2)
        one.sendall(b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x00\x00\x03abc")
        return one.recv(4) == b"\x20\x02\x00\x00"
    return False


def http_answers(api):
    with contextlib.suppress(OSError, http.client.HTTPException):
        return api.status("/healthz") == 200
    return False


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        broker = brokers.Broker(config=STAY, listener=f"listener {port} 127.0.0.1\nprotocol http_api\n")
        with pytest.raises(RuntimeError, match=f"port {port} on 127.0.0.1 is already in use"):
            broker.start()
        broker.remove()


def passwords(directory, **users):
    path = directory / "passwords"
    for name, password in users.items():
        made = [] if path.exists() else ["-c"]
        subprocess.run([brokers.program(), "passwd", "-b", *made, "-H", "sha512-pbkdf2", str(path), name, password], check=True, timeout=30)
    return path


def test_users_and_rules_are_those_of_mqtt(tmp_path):
    users = passwords(tmp_path, ops="right", viewer="see", device="thing")
    rules = tmp_path / "acl"
    rules.write_text("user ops\ntopic readwrite #\nuser viewer\ntopic read /api/#\ntopic read /metrics\nuser device\ntopic readwrite plant/#\n")
    config = f"per_listener_settings true\nauth_failures_per_minute 4\n"
    with broker_with_api(config, f"password_file {users}\nacl_file {rules}\n") as broker:
        def status(user, path="/api/v1/memory", method="GET"):
            return Api(broker.api.port, user).status(path, method, MEANT)

        assert status(None) == 401 and status(None, "/") == 401
        assert status(None, "/healthz") == 200 and status(None, "/readyz") == 200, "probes need no password"
        challenge = broker.api.ask("/metrics")[1]["WWW-Authenticate"]
        assert challenge.startswith("Basic realm=")
        assert status("ops:right") == 200 and status("viewer:see") == 200 and status("viewer:see", "/metrics") == 200
        assert status("viewer:see", "/") == 403 and status("device:thing") == 403, "the rules do not say so"
        assert status("viewer:see", "/api/v1/reload", "POST") == 403 and status("ops:right", "/api/v1/reload", "POST") == 200
        with client(broker, "victim") as one:
            assert status("viewer:see", "/api/v1/clients/victim", "DELETE") == 403 and not one.gone
            assert status("ops:right", "/api/v1/clients/victim", "DELETE") == 204
        assert logged(broker, "Client victim disconnected by ops.")
        assert ctl(broker, "memory").returncode == 2
        assert ctl(broker, "--user", "ops", "memory", env={"PLIMSOLL_PASSWORD": "right"}).returncode == 0
        secret = tmp_path / "secret"
        secret.write_text("see\n")
        settings = broker.directory / ".config" / "plimsoll"
        settings.mkdir(parents=True)
        (settings / "ctl.conf").write_text(f"user viewer\npassword_file {secret}\n")
        assert ctl(broker, "memory").returncode == 0 and ctl(broker, "reload").returncode == 2
        # A password that is changed holds at once, whoever is remembered.
        subprocess.run([brokers.program(), "passwd", "-b", "-H", "sha512-pbkdf2", str(users), "viewer", "new"], check=True, timeout=30)
        assert status("ops:right", "/api/v1/reload", "POST") == 200
        assert status("viewer:see") == 401 and status("viewer:new") == 200
        # Guesses run out, as MQTT's do; who is right is remembered and not asked.
        answers = [status(f"ops:guess{number}") for number in range(6)]
        assert answers[0] == 401 and answers[-1] == 429, answers
        assert Api(broker.api.port).status("/healthz") == 200


def test_changes_without_a_name_only_from_this_machine(tmp_path):
    port = brokers.free_port()
    with brokers.Broker(config=STAY, listener=f"listener {port}\nsocket_domain ipv4\nprotocol http_api\nallow_anonymous true\n") as broker:
        api = Api(port)
        assert api.status("/api/v1/memory") == 200
        assert api.status("/api/v1/reload", "POST", MEANT) == 401, broker.log_text()


def test_tls_and_certificates_as_names(tmp_path):
    root = Authority(tmp_path, "root")
    certificate, key = root.issue("server", names=["localhost", "127.0.0.1"])
    own, own_key = root.issue("ops")
    listener = f"certfile {certificate}\nkeyfile {key}\ncafile {root.certificate}\nrequire_certificate true\nuse_identity_as_username true\n"
    with broker_with_api("per_listener_settings true\n", listener) as broker:
        context = ssl.create_default_context(cafile=str(root.certificate))
        with pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
            Api(broker.api.port, tls=context, host="localhost").status("/api/v1/memory")
        context.load_cert_chain(own, own_key)
        api = Api(broker.api.port, tls=context, host="localhost")
        assert api.status("/api/v1/memory") == 200
        assert api.status("/api/v1/clients/nobody", "DELETE", MEANT) == 404, "a certificate is a name"
        assert api.get("/api/v1/listeners")["listeners"][1] | {"connections": 0} == {
            "port": broker.api.port, "protocol": "httpapi", "tls": True, "mtls": True, "allow_anonymous": False, "connections": 0
        }


def test_ctl_over_tls(tmp_path):
    root = Authority(tmp_path, "root")
    certificate, key = root.issue("server", names=["localhost", "127.0.0.1"])
    with broker_with_api(listener=f"allow_anonymous true\ncertfile {certificate}\nkeyfile {key}\n") as broker:
        url = ["--url", f"https://localhost:{broker.api.port}"]
        assert ctl(broker, *url, "health").returncode == 2, "nobody vouches for it"
        assert ctl(broker, *url, "--cafile", str(root.certificate), "health").returncode == 0
        assert ctl(broker, *url, "--insecure", "health").returncode == 0


def test_unix_socket(tmp_path):
    path = tmp_path / "http"
    with brokers.Broker(config=STAY, listener=f"listener 0 {path}\nprotocol http_api\nallow_anonymous true\n") as broker:
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(path))
            one.sendall(b"POST /api/v1/recount HTTP/1.1\r\nHost: localhost\r\nX-Requested-With: x\r\nConnection: close\r\n\r\n")
            assert one.recv(100).startswith(b"HTTP/1.1 200")
        assert broker.stop() == 0 and not path.exists()


def raw(port, request, seconds=5):
    """What a peer hears that sends bytes by hand."""
    with socket.create_connection(("127.0.0.1", port), 5) as one:
        one.settimeout(seconds)
        one.sendall(request)
        heard = b""
        with contextlib.suppress(ConnectionError):
            while more := one.recv(65536):
                heard += more
        return heard


def test_bounds():
    with broker_with_api("http_max_header_bytes 8192\nhttp_max_body_bytes 100\nhttp_timeout 1\nhttp_max_connections 8\n") as broker:
        api = broker.api
        head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
        assert b" 431 " in raw(api.port, head + b"X: " + b"y" * 20000 + b"\r\n\r\n").split(b"\r\n")[0]
        assert b" 431 " in raw(api.port, head + b"".join(b"H%d: x\r\n" % number for number in range(200)) + b"\r\n").split(b"\r\n")[0]
        assert api.status("/api/v1/recount", "POST", MEANT, b"x" * 101) == 413
        assert api.status("/api/v1/recount", "POST", MEANT, b"x" * 100) == 200
        started = time.monotonic()
        raw(api.port, head)  # and no more
        assert 0.5 < time.monotonic() - started < 4
        started = time.monotonic()
        raw(api.port, b"")  # nothing at all
        assert 0.5 < time.monotonic() - started < 4
        heard = raw(api.port, b"POST /api/v1/recount HTTP/1.1\r\nHost: localhost\r\nX-Requested-With: x\r\nContent-Length: 50\r\n\r\nhalf")
        assert b" 408 " in heard.split(b"\r\n")[0]
        assert raw(api.port, b"\x16\x03\x01 what is this\r\n\r\n").startswith(b"HTTP/1.1 400")
        # All places taken: who comes then waits, and is served when somebody has left.
        idle = [socket.create_connection(("127.0.0.1", api.port)) for _ in range(8)]
        started = time.monotonic()
        assert api.status("/healthz") == 200 and time.monotonic() - started < 4
        for one in idle:
            one.close()


def test_who_does_not_take_an_answer_is_let_go_and_memory_comes_back():
    with broker_with_api("http_timeout 2\n") as broker:
        publish(broker, *[(f"big/{number}", b"z" * 60000) for number in range(40)])

        def admin():
            return next(one["bytes"] for one in broker.api.get("/api/v1/memory")["accounts"] if one["name"] == "admin")

        for _ in range(3):
            broker.api.get("/api/v1/retained", filter="big/#")
        time.sleep(1.2)
        before = admin()
        stuck = []
        for _ in range(12):
            one = socket.socket()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect(("127.0.0.1", broker.api.port))
            one.sendall(b"GET /api/v1/retained?filter=big/%23&preview=60000 HTTP/1.1\r\nHost: localhost\r\n\r\n" * 4)
            stuck.append(one)
        until(lambda: admin() > before + 4 * MIB)
        until(lambda: figures(broker)["plimsoll_http_connections"] <= 1, 15)
        until(lambda: admin() < before + MIB)
        for one in stuck:
            one.close()


def test_what_http_holds_does_not_drift_with_logins_and_lines_of_the_log(tmp_path):
    users = passwords(tmp_path, ops="right")
    with broker_with_api("per_listener_settings true\nauth_failures_per_minute 0\n", f"password_file {users}\n") as broker:
        ops = Api(broker.api.port, "ops:right")

        def admin():
            return next(one["bytes"] for one in ops.get("/api/v1/memory")["accounts"] if one["name"] == "admin")

        def round(count):
            for number in range(count):
                assert Api(broker.api.port, f"somebody{number}:{'x' * 200}").status("/metrics") == 401
                assert ops.status("/api/v1/clients/nobody", "DELETE", MEANT) == 404
                assert number % 20 or ops.status("/api/v1/heap") == 200

        round(40)
        time.sleep(2.2)
        before = admin()
        round(300)
        time.sleep(2.2)
        # The minutes that are remembered grow by a line each second.
        assert abs(admin() - before) < 64 * 1024


def test_the_data_path_does_not_wait_for_http():
    with broker_with_api() as broker, contextlib.ExitStack() as stack:
        for number in range(200):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", broker.port)))
            name = b"many-%03d" % number
            one.sendall(bytes([0x10, 12 + len(name)]) + b"\x00\x04MQTT\x04\x02\x00\x00" + bytes([0, len(name)]) + name)
            one.recv(4)
        for _ in range(30):
            assert len(broker.api.get("/api/v1/clients", limit=1000)["clients"]) == 200
        now = figures(broker)
        assert now['plimsoll_http_engine_hold_seconds_bucket{le="0.01"}'] >= 0.99 * now["plimsoll_http_engine_hold_seconds_count"]


def test_ctl(broker, tmp_path):
    with client(broker, "ctl-client", "ctl/#"):
        publish(broker, ("ctl/a", "hello\x1b[2J"), ("ctl/b", b"\xff"))
        assert "alive and ready" in ctl(broker, "health").stdout
        memory = ctl(broker, "memory").stdout
        assert "residue" in memory and "retained" in memory
        listed = ctl(broker, "clients", "--search", "ctl-").stdout.splitlines()
        assert len(listed) == 2 and listed[1].split()[:4] == ["ctl-client", "-", "connected", "3.1.1"]
        assert json.loads(ctl(broker, "clients", "--json").stdout)["clients"]
        assert "ctl/#" in ctl(broker, "clients", "ctl-client").stdout
        assert "ctl-client" in ctl(broker, "subscriptions", "--search", "ctl/").stdout
        assert "ctl/#" in ctl(broker, "subscriptions", "--client", "ctl-client").stdout
        retained = ctl(broker, "retained", "ctl/#").stdout
        assert "ctl/a" in retained and "\x1b" not in retained and "/w== (base64)" in retained
        assert ctl(broker, "kick", "ctl-client").returncode == 0
    assert ctl(broker, "kick", "nobody").returncode == 1
    assert "ctl-client" in ctl(broker, "sessions", "--away").stdout
    assert ctl(broker, "kick", "--end-session", "ctl-client").returncode == 0
    assert "ctl-client" not in ctl(broker, "sessions").stdout
    assert ctl(broker, "recount").returncode == 0 and ctl(broker, "reload").returncode == 0
    assert ctl(broker, "metrics", "--openmetrics").stdout.endswith("# EOF\n")
    profile = tmp_path / "heap.pb.gz"
    assert ctl(broker, "heap", "-o", str(profile)).returncode == 0 and profile.read_bytes()[:2] == b"\x1f\x8b"
    alarms = ctl(broker, "alarms")
    assert alarms.returncode == 0 and "No alarm" in alarms.stdout
    assert ctl(broker, "--url", "http://127.0.0.1:1", "health").returncode == 2
    assert ctl(broker, "--url", "127.0.0.1", "health").returncode == 3 and ctl(broker, "nonsense").returncode == 3
    assert ctl(broker, "retained", "a/#/b").returncode == 3
    with ctl_piped(broker, "metrics") as process:
        assert process.stdout.readline()
    assert "Examples" in ctl(broker, "--help").stdout


@contextlib.contextmanager
def ctl_piped(broker, *words):
    """A reader that has seen enough is no failure."""
    process = subprocess.Popen(
        [brokers.program(), "ctl", "--url", f"http://127.0.0.1:{broker.api.port}", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    yield process
    process.stdout.close()
    assert process.wait(10) == 0 and process.stderr.read() == b""
    process.stderr.close()


def test_check_config_knows_the_listener(tmp_path):
    config = tmp_path / "c.conf"
    config.write_text("listener 8080 127.0.0.1\nprotocol http_api\nallow_anonymous true\n")
    checked = subprocess.run([brokers.program(), "check-config", "-c", str(config)], capture_output=True, text=True, timeout=10)
    assert checked.returncode == 0 and "HTTP API" in checked.stdout
    config.write_text("listener 8080 127.0.0.1\nprotocol http_api\nenable_proxy_protocol 2\nlistener 8081\nprotocol http_api\nwebsockets_origin https://a\n")
    checked = subprocess.run([brokers.program(), "check-config", "-c", str(config)], capture_output=True, text=True, timeout=10)
    assert checked.returncode == 3 and len(checked.stderr.strip().splitlines()) == 2, checked.stderr
