"""go-auth's backends built in: Home Assistant's template unchanged, files, a web service, and a slow one."""

import base64
import hashlib
import json
import os
import signal
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import broker as brokers
from session import Refused, Session

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="a plugin that is built in")

# The add-on's template (home-assistant/addons, mosquitto/rootfs/usr/share/tempio/mosquitto.gtpl) as it
# comes out without TLS; paths and ports are the test's.
HOME_ASSISTANT = """user root
log_dest stdout

log_type error
log_type warning
log_type notice
log_type information

log_timestamp_format %Y-%m-%d %H:%M:%S
persistence true
persistence_location {directory}/

# Limits
max_queued_messages 8192

# Authentication plugin
auth_plugin /usr/share/mosquitto/go-auth.so
auth_plugin_deny_special_chars false
auth_opt_backends files,http
auth_opt_hasher pbkdf2
auth_opt_cache true
auth_opt_auth_cache_seconds 300
auth_opt_auth_jitter_seconds 30
auth_opt_acl_cache_seconds 300
auth_opt_acl_jitter_seconds 30
auth_opt_log_level error

# HTTP backend for the authentication plugin
auth_opt_files_password_path {directory}/pw
auth_opt_files_acl_path {directory}/acl

# HTTP backend for the authentication plugin
auth_opt_http_host 127.0.0.1
auth_opt_http_port {http}
auth_opt_http_getuser_uri /authentication
auth_opt_http_superuser_uri /superuser
auth_opt_http_aclcheck_uri /acl
{more}
listener {port}
protocol mqtt
"""


def pbkdf2(password):
    """A hash as go-auth's `pw` makes it."""
    salt = os.urandom(16)
    derived = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 1000, 64)
    return f"PBKDF2$sha512$1000${base64.b64encode(salt).decode()}${base64.b64encode(derived).decode()}"


class Service:
    """A web service: `rules` answers what it is asked, after `delay` seconds."""

    def __init__(self, rules, delay=None):
        self.asked, self.lock = [], threading.Lock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            """Answers with a status alone."""

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with service.lock:
                    service.asked.append((self.path, body))
                if delay:
                    time.sleep(delay(self.path, body))
                status = rules(self.path, body)
                self.send_response({True: 200, False: 401}.get(status, status))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def count(self, path):
        """How often it was asked at a path."""
        with self.lock:
            return sum(asked == path for asked, _ in self.asked)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()


class HomeAssistant(brokers.Broker):
    """A broker with the add-on's configuration."""

    def __init__(self, service, more=""):
        super().__init__()
        text = HOME_ASSISTANT.format(directory=self.directory, http=service.port, port=self.port, more=more)
        self.config.write_text(text)
        (self.directory / "pw").write_text(f"homeassistant:{pbkdf2('ha')}\naddons:{pbkdf2('addons')}\n")
        (self.directory / "acl").write_text("user homeassistant\ntopic readwrite #\n\nuser addons\ntopic readwrite #\n")


def allow_all(path, body):
    """A user `user` with password `secret`, who may use what begins with his name."""
    if path == "/authentication":
        return body["username"].startswith("user") and body["password"] == "secret"
    return path == "/acl" and body["topic"].startswith((body["username"], "shared/"))


def test_home_assistants_template_runs_unchanged():
    with Service(allow_all) as service, HomeAssistant(service) as broker:
        with Session(broker.port, "ha/core", "homeassistant", "ha") as core, Session(broker.port, "u1", "user1", "secret") as user:
            assert core.subscribe("#") == [1]
            assert service.asked == [("/authentication", {"username": "user1", "password": "secret", "clientid": "u1"})]
            assert user.publish("user1/x") == 0
            assert core.next() == ("user1/x", b"x")
            assert user.publish("user2/x") == 0x87
            assert user.subscribe("user1/#", "user2/#") == [1, 0x87]
            assert core.publish("user1/y", b"hello") == 0
            assert user.next() == ("user1/y", b"hello")
            assert core.next()[0] == "user1/y"
            user.publish("user1/x")
            asked = service.count("/acl")
            for _ in range(50):
                user.publish("user1/x", qos=0)
            user.ping()
            assert service.count("/acl") == asked, "answers are kept"
        for username, password in [("homeassistant", "wrong"), ("user1", "wrong"), ("nobody", "secret")]:
            with pytest.raises(Refused, match="0x87"):
                Session(broker.port, "x", username, password)
        with pytest.raises(Refused):
            Session(broker.port, "x")
        assert "secret" not in broker.log_text()


def test_questions_have_go_auths_form():
    with Service(allow_all) as service, HomeAssistant(service) as broker:
        with Session(broker.port, "u1", "user1", "secret") as user:
            user.subscribe("user1/#")
            user.publish("user1/x")
            user.next()
    acl = [body for path, body in service.asked if path == "/acl"]
    assert acl == [{"username": "user1", "clientid": "u1", "topic": topic, "acc": access} for topic, access in [("user1/#", 4), ("user1/x", 2), ("user1/x", 1)]]
    assert ("/superuser", {"username": "user1"}) in service.asked


def test_a_packet_that_waits_holds_its_own_client_alone_and_in_order():
    """Publishes, DISCONNECT and the end of the connection behind a question that takes a second."""

    def delay(path, body):
        return 1.0 if path == "/acl" and body["username"] == "user-slow" else 0

    with Service(allow_all, delay) as service, HomeAssistant(service) as broker:
        core = Session(broker.port, "core", "homeassistant", "ha")
        core.subscribe("user-slow/#")
        slow = Session(broker.port, "s", "user-slow", "secret")
        start = time.monotonic()
        for number in range(3):
            slow.publish("user-slow/a", b"%d" % number, qos=0)
        slow.publish("user-slow/b", b"3", qos=0)
        slow.close()
        latencies = []
        with Session(broker.port, "q", "addons", "addons") as quick:
            while time.monotonic() - start < 0.8:
                sent = time.monotonic()
                assert quick.publish("quick") == 0x10
                latencies.append(time.monotonic() - sent)
        assert max(latencies) < 0.2, "a slow service disturbs nobody else"
        seen = []
        while len(seen) < 4:
            seen.append(core.next())
        assert seen == [("user-slow/a", b"0"), ("user-slow/a", b"1"), ("user-slow/a", b"2"), ("user-slow/b", b"3")]
        assert time.monotonic() - start > 1.5
        core.close()


def test_a_delivery_waits_for_its_receivers_who_are_asked_at_once():
    def delay(path, body):
        return 0.5 if path == "/acl" and body["acc"] == 1 else 0

    with Service(allow_all, delay) as service, HomeAssistant(service) as broker:
        receivers = [Session(broker.port, f"r{number}", "user1", "secret") for number in range(6)]
        for receiver in receivers:
            assert receiver.subscribe("shared/#") == [1]
        with Session(broker.port, "core", "homeassistant", "ha") as core:
            start = time.monotonic()
            assert core.publish("shared/x") == 0
            assert 0.4 < time.monotonic() - start < 1.5
        for receiver in receivers:
            assert receiver.next() == ("shared/x", b"x")
            receiver.close()


def test_retained_messages_and_wills_wait_too():
    def delay(path, body):
        return 0.3 if path == "/acl" and body["acc"] != 4 else 0

    with Service(allow_all, delay) as service, HomeAssistant(service) as broker:
        with Session(broker.port, "core", "homeassistant", "ha") as core:
            for number in range(5):
                core.publish(f"shared/{number}", retain=True)
            core.publish("office/1", retain=True)
            with Session(broker.port, "u1", "user1", "secret") as user:
                assert user.subscribe("shared/#") == [1]
                assert [user.next()[0] for _ in range(5)] == [f"shared/{number}" for number in range(5)]
            core.subscribe("user1/#", "user2/#")
            for topic in ("user1/will", "user2/will"):
                Session(broker.port, topic[:5], "user1", "secret", will=(topic, "gone")).socket.close()
            assert core.next() == ("user1/will", b"gone")
            time.sleep(1)
            core.ping()
            assert core.messages == []


def test_a_service_that_fails_or_hangs_denies():
    def rules(path, body):
        return 500 if body.get("topic", "").endswith("fails") else allow_all(path, body)

    def delay(path, body):
        return 3 if body.get("topic", "").endswith("hangs") else 0

    with Service(rules, delay) as service, HomeAssistant(service, "auth_opt_http_timeout 1") as broker:
        with Session(broker.port, "u1", "user1", "secret") as user:
            assert user.publish("user1/fails") == 0x87
            start = time.monotonic()
            assert user.publish("user1/hangs") == 0x87
            assert time.monotonic() - start < 2.5
            assert user.publish("user1/x") in (0, 0x10)
        log = broker.log_text()
    assert "go-auth: http://127.0.0.1" in log


def certificate(directory):
    """An authority, and a server's certificate that it has signed."""
    (directory / "ext").write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    for arguments in [
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority",
        "req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj /CN=service",
        "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile ext",
    ]:
        subprocess.run(["openssl", *arguments.split()], cwd=directory, check=True, capture_output=True)


def test_a_service_over_tls_has_to_be_who_it_is(tmp_path):
    certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with Service(allow_all) as service:
        service.server.socket = context.wrap_socket(service.server.socket, server_side=True)
        tls = "auth_opt_http_with_tls true\n"
        for more in (f"auth_opt_http_cafile {tmp_path}/ca.pem", "auth_opt_http_verify_peer false"):
            with HomeAssistant(service, tls + more) as broker:
                Session(broker.port, "u1", "user1", "secret").close()
        with HomeAssistant(service, tls) as broker:
            with pytest.raises(Refused, match="0x88"):
                Session(broker.port, "u1", "user1", "secret")
            assert "UnknownIssuer" in broker.log_text()


def test_a_reload_reads_the_files_again_and_a_mistake_changes_nothing():
    with Service(allow_all) as service, HomeAssistant(service) as broker:
        passwords = broker.directory / "pw"
        passwords.write_text(passwords.read_text() + f"new:{pbkdf2('new')}\n")
        broker.signal(signal.SIGHUP)
        deadline = time.monotonic() + 5
        while True:
            try:
                Session(broker.port, "n", "new", "new").close()
                break
            except Refused:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        passwords.write_text("new:nonsense\n")
        broker.signal(signal.SIGHUP)
        time.sleep(0.5)
        assert f"{passwords}:1: the hash of `new`" in broker.log_text()
        Session(broker.port, "n", "new", "new").close()


def test_a_mistake_stops_the_start_and_names_file_and_line():
    with Service(allow_all) as service:
        broker = HomeAssistant(service, "auth_opt_http_params_mode xml")
        broker.spawn()
        assert broker.process.wait(10) == 3
        line = 1 + broker.config.read_text().splitlines().index("auth_opt_http_params_mode xml")
        assert f"{broker.config}:{line}: auth_opt_http_params_mode: `xml` is not one of json, form" in broker.log_text()
        broker.remove()
