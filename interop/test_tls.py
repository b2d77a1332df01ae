"""TLS: real clients, a private authority with rotations, expired, revoked and wrong certificates."""

import contextlib
import signal
import socket
import ssl
import subprocess
import time

import broker as brokers
import pytest
import stock
from broker import logged
from durable import STAY
from pki import Authority, openssl

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="needs a listener of its own")


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """A root, an intermediate, a server, clients; and a stranger."""

    class Pki:
        directory = tmp_path_factory.mktemp("pki")
        root = Authority(directory, "root")
        stranger = Authority(directory, "stranger")
        middle = Authority(directory, "middle", root)
        server = middle.issue("server", names=["localhost", "127.0.0.1"])
        other = middle.issue("other", names=["broker.example"], kind="RSA")
        client = middle.issue("client", subject="/C=DE/O=Plant 7, Ltd/OU=a\\+b/CN=sensor-1")
        second = middle.issue("second", subject="/CN=sensor-2")
        nameless = middle.issue("nameless", subject="/O=nobody")
        expired = middle.issue("expired", subject="/CN=old", start="20200101000000Z", end="20210101000000Z")
        wrong = stranger.issue("wrong", subject="/CN=sensor-1")

    return Pki


def config(pki, more="", server=None):
    """A TLS listener; its port is the broker's own."""
    certificate, key = server or pki.server
    return f"certfile {certificate}\nkeyfile {key}\n{more}"


def running(pki, more="", server=None, head=""):
    broker = brokers.Broker(config=f"{STAY}log_type all\n{head}", listener=config(pki, more, server))
    return broker


def publish(broker, pki, *words, client=None, ca=None, host="localhost", topic="t"):
    """mosquitto_pub over TLS."""
    command = ["mosquitto_pub", "-h", host, "-p", str(broker.port), "-t", topic, "-m", "x", "-q", "1", "--cafile", str(ca or pki.root.certificate)]
    if client:
        command += ["--cert", str(client[0]), "--key", str(client[1])]
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=20)


def client_of(broker, pki, identifier, client=None, version=5):
    """A paho client over TLS."""
    context = ssl.create_default_context(cafile=str(pki.root.certificate))
    if client:
        context.load_cert_chain(*map(str, client))

    class Secure(stock.mqtt.Client):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.tls_set_context(context)
            self.tls_insecure_set(False)

    plain, stock.mqtt.Client = stock.mqtt.Client, Secure
    try:
        return stock.Client(broker.port, identifier, version=version)
    finally:
        stock.mqtt.Client = plain


def s_client(broker, *words):
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{broker.port}", *words]
    return subprocess.run(command, input="", capture_output=True, text=True, timeout=20)


def test_stock_clients_over_tls(pki):
    with running(pki) as broker:
        assert publish(broker, pki).returncode == 0
        assert publish(broker, pki, host="127.0.0.1").returncode == 0
        assert publish(broker, pki, ca=pki.stranger.certificate).returncode != 0, "the client does not know the broker"
        with client_of(broker, pki, "a") as one, client_of(broker, pki, "b", version=4) as two:
            two.subscribe("big", 1)
            payload = bytes(range(256)) * 4000  # More than any buffer of a layer holds.
            one.paho.publish("big", payload, 1)
            assert two.messages.get(timeout=10).payload == payload
            for number in range(2000):
                one.paho.publish("big", str(number), 1)
            assert [int(two.messages.get(timeout=10).payload) for _ in range(2000)] == list(range(2000))
    with running(pki, server=pki.other) as broker:
        assert "TLS error" in publish(broker, pki).stderr, "the wrong host: the client refuses"


def test_versions_and_ciphers(pki):
    with running(pki) as broker:
        assert "TLSv1.3" in s_client(broker, "-tls1_3").stdout
        assert "TLSv1.2" in s_client(broker, "-tls1_2").stdout
        for old in ("-tls1_1", "-tls1"):
            assert "Cipher is (NONE)" in s_client(broker, old, "-cipher", "ALL:@SECLEVEL=0").stdout
        assert "Cipher is ECDHE-ECDSA-CHACHA20-POLY1305" in s_client(broker, "-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305").stdout
        assert "ALPN protocol: mqtt" in s_client(broker, "-alpn", "mqtt").stdout
        assert "No ALPN negotiated" in s_client(broker).stdout
    with running(pki, "tls_version tlsv1.3\nciphers_tls1.3 TLS_CHACHA20_POLY1305_SHA256") as broker:
        assert "Cipher is TLS_CHACHA20_POLY1305_SHA256" in s_client(broker).stdout
        assert "Cipher is (NONE)" in s_client(broker, "-tls1_2").stdout
    with running(pki, f"certfile {pki.other[0]}\nkeyfile {pki.other[1]}") as broker:
        assert "CN = other" in s_client(broker, "-servername", "broker.example").stdout
        assert "CN = server" in s_client(broker, "-servername", "localhost").stdout
        assert "CN = server" in s_client(broker).stdout, "the first is for all others"


CLIENTS = {"client": True, "second": True, None: False, "expired": False, "wrong": False}


@pytest.mark.parametrize("version", ["tlsv1.2", "tlsv1.3"])
def test_who_has_a_certificate_is_let_in(pki, version):
    more = f"cafile {pki.root.certificate}\nrequire_certificate true"
    with running(pki, more) as broker:
        for name, good in CLIENTS.items():
            result = publish(broker, pki, "--tls-version", version, client=name and getattr(pki, name))
            assert (result.returncode == 0) == good, (name, result.stderr, broker.log_text())
        log = broker.log_text()
        for why in ("peer sent no certificates", "certificate expired", "UnknownIssuer"):
            assert why in log, log
    with running(pki, f"{more}\ndisable_client_cert_date_checks true") as broker:
        assert publish(broker, pki, client=pki.expired).returncode == 0
        assert publish(broker, pki, client=pki.wrong).returncode != 0


def old_style(authority, directory, name, subject, kind="rsa:2048", **dates):
    """A certificate and its key as the commands of mosquitto-tls(7) make them: of version 1 with most OpenSSLs."""
    key, request, certificate = (directory / f"{name}.{end}" for end in ("key", "csr", "crt"))
    more = ["-newkey", kind] if kind != "ec" else ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    openssl("req", "-new", "-nodes", *more, "-keyout", key, "-subj", subject, "-out", request)
    dates = ["-startdate", dates.get("start", "20200101000000Z"), "-enddate", dates.get("end", "20491231000000Z")]
    openssl("ca", "-batch", "-notext", "-config", authority.config, "-in", request, "-out", certificate, *dates)
    assert "Version: 1 (0x0)" in openssl("x509", "-in", certificate, "-noout", "-text")
    return certificate, key


@pytest.mark.parametrize("kind", ["rsa:2048", "ec"])
@pytest.mark.parametrize("version", ["tlsv1.2", "tlsv1.3"])
def test_certificates_of_version_1(pki, tmp_path, version, kind):
    root = Authority(tmp_path, "old root")
    double = Authority(tmp_path / "double", "old root")  # Another one of the same name.
    server = old_style(root, tmp_path, "server", "/CN=localhost", kind)
    client = old_style(root, tmp_path, "client", "/CN=old-1", kind)
    revoked = old_style(root, tmp_path, "revoked", "/CN=revoked", kind)
    expired = old_style(root, tmp_path, "expired", "/CN=expired", kind, end="20210101000000Z")
    forged = old_style(double, tmp_path, "forged", "/CN=old-1", kind)
    mixed = (client[0], revoked[1])
    openssl("ca", "-config", root.config, "-revoke", revoked[0])
    lists = tmp_path / "crl.pem"
    lists.write_text(root.revocation_list())
    more = f"cafile {root.certificate}\nrequire_certificate true\nuse_identity_as_username true\n"

    def enters(broker, who):
        return publish(broker, pki, "--tls-version", version, ca=root.certificate, client=who).returncode == 0

    with running(pki, more, server=server) as broker:
        found = [enters(broker, who) for who in (client, revoked, expired, forged, None)]
        assert found == [True, True, False, False, False], broker.log_text()
        assert "u'old-1')" in broker.log_text()
        for why in ("Expired", "UnknownIssuer"):
            assert why.lower() in broker.log_text().lower(), broker.log_text()
    with running(pki, f"{more}crlfile {lists}\ndisable_client_cert_date_checks true", server=server) as broker:
        assert [enters(broker, who) for who in (client, revoked, expired)] == [True, False, True]
        stays = subprocess.Popen(["mosquitto_sub", "-h", "localhost", "-p", str(broker.port), "-t", "t", "--cafile", str(root.certificate),
                                  "--cert", str(client[0]), "--key", str(client[1]), "-i", "stays"], stderr=subprocess.PIPE)  # fmt: skip
        assert logged(broker, "as stays")
        openssl("ca", "-config", root.config, "-revoke", client[0])
        lists.write_text(root.revocation_list())
        broker.signal(signal.SIGHUP)
        assert logged(broker, "Client stays disconnected", 1.5), broker.log_text()
        stays.kill()
        assert not enters(broker, client)
        # A list of the same name that the authority has not signed is no list.
        lists.write_text(double.revocation_list())
        broker.signal(signal.SIGHUP)
        time.sleep(0.3)
        assert not enters(broker, expired)
    found = subprocess.run([brokers.program(), "check-config", "-c", "/dev/stdin"], capture_output=True, text=True,
                           input=f"{STAY}listener 1883\ncertfile {mixed[0]}\nkeyfile {mixed[1]}\n")  # fmt: skip
    assert found.returncode == 3 and "it is not the key of certfile" in found.stderr, found.stderr


def test_a_certificate_that_ends_before_it_begins(pki):
    """Dates are looked at before signatures, so that anybody may send one."""
    odd = pki.stranger.issue("odd", subject="/CN=odd", start="20400101000000Z", end="20300101000000Z")
    more = f"cafile {pki.root.certificate}\nrequire_certificate true\ndisable_client_cert_date_checks true"
    with running(pki, more) as broker:
        assert publish(broker, pki, client=odd).returncode != 0
        assert publish(broker, pki, client=pki.client).returncode == 0, "it is still there"


def test_the_certificate_says_who_a_client_is(pki, tmp_path):
    more = f"cafile {pki.root.certificate}\nrequire_certificate true\n"
    acl = tmp_path / "acl"
    acl.write_text("user sensor-1\ntopic readwrite own\n")
    head = f"acl_file {acl}\nallow_anonymous false"
    with running(pki, more + "use_identity_as_username true", head=head) as broker:
        text = broker.config.read_text()
        broker.stop()
        broker.config.write_text(text.replace("allow_anonymous true", ""))
        broker.start()
        assert publish(broker, pki, "-u", "somebody", "-P", "else", "-V", "5", client=pki.client, topic="own").returncode == 0
        assert logged(broker, "u'sensor-1')")
        assert "Not authorized" in str(publish(broker, pki, "-V", "5", client=pki.second, topic="own"))
        assert publish(broker, pki, client=pki.nameless).returncode != 0, "no common name"
    with running(pki, more + "use_subject_as_username true") as broker:
        assert publish(broker, pki, client=pki.client).returncode == 0
        # As OpenSSL prints it with the flags of Mosquitto.
        assert logged(broker, "u'CN=sensor-1,OU=a\\+b,O=Plant 7\\, Ltd,C=DE')"), broker.log_text()


def closed(client, seconds=2):
    try:
        client.disconnects.get(timeout=seconds)
        return True
    except Exception:  # noqa: BLE001
        return False


def test_revocation_and_rotation_act_on_live_connections(pki, tmp_path):
    lists, roots = tmp_path / "crl.pem", tmp_path / "roots.pem"
    lists.write_text(pki.middle.revocation_list())
    roots.write_text(pki.root.certificate.read_text())
    victim = pki.middle.issue("victim", subject="/CN=victim")
    more = f"cafile {roots}\nrequire_certificate true\ncrlfile {lists}\n"
    with running(pki, more) as broker:
        stays, goes = client_of(broker, pki, "stays", pki.client), client_of(broker, pki, "goes", victim)
        pki.middle.revoke("victim")
        lists.write_text(pki.middle.revocation_list())
        broker.signal(signal.SIGHUP)
        assert closed(goes, 1.5), "revoked: within a second"
        assert not closed(stays, 0.3)
        assert publish(broker, pki, client=victim).returncode != 0
        assert logged(broker, "certificate revoked") or logged(broker, "Revoked"), broker.log_text()
        # A second authority beside the first: its clients come in, the others stay.
        new_root = Authority(tmp_path, "new root")
        new_middle = Authority(tmp_path, "new middle", new_root)
        newcomer = new_middle.issue("newcomer", subject="/CN=newcomer")
        assert publish(broker, pki, client=newcomer).returncode != 0
        roots.write_text(pki.root.certificate.read_text() + new_root.certificate.read_text())
        lists.write_text(pki.middle.revocation_list() + new_middle.revocation_list())
        broker.signal(signal.SIGHUP)
        time.sleep(0.3)
        assert publish(broker, pki, client=newcomer).returncode == 0
        assert not closed(stays, 0.3)
        # The broker's own certificate changes.
        assert "CN = server" in s_client(broker).stdout
        text = broker.config.read_text()
        broker.config.write_text(text.replace(str(pki.server[0]), str(pki.other[0])).replace(str(pki.server[1]), str(pki.other[1])))
        broker.signal(signal.SIGHUP)
        time.sleep(0.3)
        assert "CN = other" in s_client(broker).stdout
        broker.config.write_text(text)
        # The first authority goes, and its clients with it.
        roots.write_text(new_root.certificate.read_text())
        broker.signal(signal.SIGHUP)
        assert closed(stays, 1.5)
        assert publish(broker, pki, client=newcomer).returncode == 0
        # A broken file changes nothing.
        roots.write_text("nothing")
        broker.signal(signal.SIGHUP)
        assert logged(broker, f"cafile {roots}: there is no certificate in it")
        assert publish(broker, pki, client=newcomer).returncode == 0


class Slow:
    """A client that does its handshake by hand."""

    def __init__(self, broker, pki, client, session=None):
        self.context = ssl.create_default_context(cafile=str(pki.root.certificate))
        self.context.load_cert_chain(*map(str, client))
        self.socket = socket.create_connection(("127.0.0.1", broker.port), 3)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = self.context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    def begin(self):
        """Up to the point where only its own last word is missing."""
        while True:
            try:
                return self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.socket.sendall(self.outgoing.read())
                self.incoming.write(self.socket.recv(65536))

    def connect(self):
        """Ends the handshake and connects; answers what comes."""
        body = b"\x00\x04MQTT\x04\x02\x00\x00\x00\x04slow"
        self.tls.write(b"\x10" + bytes([len(body)]) + body)
        try:
            self.socket.sendall(self.outgoing.read())
            while data := self.socket.recv(65536):
                self.incoming.write(data)
                try:
                    return self.tls.read(100)
                except ssl.SSLWantReadError:
                    pass
        except (ConnectionError, ssl.SSLError):
            pass
        return b""


def test_a_handshake_that_is_slow_does_not_outlast_a_reload(pki, tmp_path):
    lists = tmp_path / "crl.pem"
    lists.write_text(pki.middle.revocation_list())
    victim = pki.middle.issue("slow victim", subject="/CN=victim")
    with running(pki, f"cafile {pki.root.certificate}\nrequire_certificate true\ncrlfile {lists}\n") as broker:
        good, bad, before = Slow(broker, pki, pki.client), Slow(broker, pki, victim), Slow(broker, pki, victim)
        before.begin()
        assert before.connect() == b"\x20\x02\x00\x00"
        good.begin()
        bad.begin()
        pki.middle.revoke("slow victim")
        lists.write_text(pki.middle.revocation_list())
        reloads = broker.log_text().count("Reloading config.")
        broker.signal(signal.SIGHUP)
        while broker.log_text().count("Reloading config.") == reloads:
            time.sleep(0.02)
        time.sleep(0.3)
        assert bad.connect() == b""
        assert logged(broker, "no longer accepted since the last reload")
        assert good.connect() == b"\x20\x02\x00\x00", "the others are let in"


def test_two_rotations_of_the_intermediate(pki, tmp_path):
    """The broker's own certificate and the clients' move from one intermediate to the next, twice."""
    middles = [pki.middle] + [Authority(tmp_path, f"middle {number}", pki.root) for number in (2, 3)]
    servers = [pki.server] + [middle.issue("server", names=["localhost", "127.0.0.1"]) for middle in middles[1:]]
    clients = [pki.client] + [middle.issue("client", subject="/CN=sensor-1") for middle in middles[1:]]
    lists = tmp_path / "crl.pem"
    lists.write_text("".join(middle.revocation_list() for middle in middles))
    more = f"cafile {pki.root.certificate}\nrequire_certificate true\ncrlfile {lists}\nuse_identity_as_username true"
    with running(pki, more) as broker:
        stays = client_of(broker, pki, "stays", clients[0])
        for old, new in zip(servers, servers[1:], strict=False):
            assert "CN = " + ("middle" if old is servers[0] else "middle 2") in s_client(broker).stdout
            text = broker.config.read_text()
            broker.config.write_text(text.replace(str(old[0]), str(new[0])).replace(str(old[1]), str(new[1])))
            broker.signal(signal.SIGHUP)
            time.sleep(0.3)
            for client in clients:
                assert publish(broker, pki, client=client).returncode == 0, "clients of every intermediate"
        assert "CN = middle 3" in s_client(broker).stdout
        assert not closed(stays, 0.2), "whoever is connected stays"
        # The first intermediate's list is no longer made: its clients are not let in any more.
        lists.write_text("".join(middle.revocation_list() for middle in middles[1:]))
        broker.signal(signal.SIGHUP)
        time.sleep(0.3)
        assert publish(broker, pki, client=clients[0]).returncode != 0
        assert [publish(broker, pki, client=client).returncode for client in clients[1:]] == [0, 0]


def test_a_revocation_list_that_has_ended_lets_nobody_in(pki, tmp_path):
    lists = tmp_path / "crl.pem"
    lists.write_text(pki.middle.revocation_list(seconds=3))
    with running(pki, f"cafile {pki.root.certificate}\nrequire_certificate true\ncrlfile {lists}\n") as broker:
        stays = client_of(broker, pki, "stays", pki.client)
        time.sleep(4)
        assert publish(broker, pki, client=pki.client).returncode != 0
        assert not closed(stays, 0.2)
        broker.signal(signal.SIGHUP)
        assert logged(broker, f"{lists} has expired: clients of its issuer are refused until there is a new one")
        lists.write_text(pki.middle.revocation_list())
        broker.signal(signal.SIGHUP)
        time.sleep(0.3)
        assert publish(broker, pki, client=pki.client).returncode == 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_that_is_taken_up_again_has_its_identity(pki, tmp_path, version):
    lists = tmp_path / "crl.pem"
    lists.write_text(pki.middle.revocation_list())
    client = pki.middle.issue(f"again {version}", subject="/CN=again")
    context = ssl.create_default_context(cafile=str(pki.root.certificate))
    context.load_cert_chain(*map(str, client))
    context.minimum_version = context.maximum_version = version
    more = f"cafile {pki.root.certificate}\nrequire_certificate true\ncrlfile {lists}\nuse_identity_as_username true"

    def visit(session=None):
        plain = socket.create_connection(("127.0.0.1", broker.port), 3)
        with context.wrap_socket(plain, server_hostname="localhost", session=session) as secure:
            secure.sendall(b"\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05again")
            assert secure.recv(4) == b"\x20\x02\x00\x00"
            return secure.session_reused, secure.session

    with running(pki, more) as broker:
        reused, session = visit()
        assert not reused
        assert visit(session)[0], "taken up again"
        assert logged(broker, "u'again')")
        deadline = time.monotonic() + 5
        while broker.log_text().count("u'again')") < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert broker.log_text().count("u'again')") == 2
        pki.middle.revoke(f"again {version}")
        lists.write_text(pki.middle.revocation_list())
        broker.signal(signal.SIGHUP)
        time.sleep(0.3)
        with pytest.raises((OSError, AssertionError)):
            visit(session)


MISTAKES = {
    "certfile /nonexistent\nkeyfile {key}": "certfile /nonexistent: No such file",
    "certfile {cert}\nkeyfile {other_key}": "it is not the key of certfile",
    "certfile {cert}": "1 certfile and 0 keyfile",
    "certfile {cert}\nkeyfile {cert}": "there is no private key in it",
    "certfile {key}\nkeyfile {key}": "there is no certificate in it",
    "certfile {cert}\nkeyfile {encrypted}": "the key is encrypted",
    "certfile {cert}\nkeyfile {key}\nrequire_certificate true": "require_certificate needs cafile or capath",
    "certfile {cert}\nkeyfile {key}\nuse_identity_as_username true": "need `require_certificate true`",
    "certfile {cert}\nkeyfile {key}\ntls_version tlsv1.1": "tlsv1.1 is broken and not supported",
    "certfile {cert}\nkeyfile {key}\nciphers AES128-SHA": "none of `AES128-SHA` is there; there are ECDHE-",
    "cafile {cert}": "without `certfile`",
    "certfile {cert}\nkeyfile {key}\npsk_file x": "rustls has no pre-shared keys",
    "certfile {cert}\nkeyfile {key}\ncafile {cert}\nrequire_certificate true\ncrlfile {cert}": "there is no revocation list in it",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(pki, tmp_path, mistake):
    encrypted = tmp_path / "encrypted.key"
    subprocess.run(["openssl", "pkey", "-in", str(pki.server[1]), "-aes128", "-passout", "pass:x", "-out", str(encrypted)], check=True)
    file = tmp_path / "broker.conf"
    names = {"cert": pki.server[0], "key": pki.server[1], "other_key": pki.other[1], "encrypted": encrypted}
    file.write_text(f"{STAY}listener 1883\n" + mistake.format(**names))
    found = subprocess.run([brokers.program(), "check-config", "-c", str(file)], capture_output=True, text=True)
    assert found.returncode == 3 and MISTAKES[mistake] in found.stderr, found.stderr
    assert str(file) in found.stderr or str(tmp_path) in found.stderr or str(pki.directory) in found.stderr or "/nonexistent" in found.stderr


def test_ends_of_certificates_are_told(pki, tmp_path):
    soon = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + 5 * 86400 + 3600))
    server = pki.middle.issue("soon", names=["localhost", "127.0.0.1"], end=soon)
    client = pki.middle.issue("soon-too", subject="/CN=soon", end=soon)
    lists = tmp_path / "crl.pem"
    lists.write_text(pki.middle.revocation_list(seconds=2 * 86400 - 3600))
    more = f"cafile {pki.root.certificate}\nrequire_certificate true\ncrlfile {lists}"
    with running(pki, more, server=server, head="sys_interval 1") as broker:
        assert logged(broker, f"{server[0]} expires in 5 day(s)")
        assert logged(broker, f"{lists} expires in 1 day(s)")
        one = client_of(broker, pki, "soon", client)
        assert logged(broker, "The certificate of CN=soon (from 127.0.0.1:")
        one.subscribe("$SYS/broker/tls/#")
        wanted = {
            "client_certificates/count": b"1",
            "client_certificates/first_ends_in_days": b"5",
            "certificate/first_ends_in_days": b"5",
            "revocation_list/first_ends_in_days": b"1",
        }
        found = {}
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and found != wanted:
            message = one.messages.get(timeout=5)
            found[message.topic.removeprefix("$SYS/broker/tls/")] = message.payload
        assert found == wanted


def test_what_is_not_tls_is_told_so_and_a_half_handshake_costs_nothing_for_long(pki):
    with running(pki, head="connect_timeout 2") as broker:
        with socket.create_connection(("127.0.0.1", broker.port)) as plain:
            plain.sendall(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04evil")
            plain.settimeout(3)
            while plain.recv(100):
                pass
        assert logged(broker, "Client connection from 127.0.0.1:")
        with socket.create_connection(("127.0.0.1", broker.port)) as silent:
            silent.sendall(b"\x16\x03\x01")
            silent.settimeout(6)
            began = time.monotonic()
            assert silent.recv(100) == b""
            assert time.monotonic() - began < 5
        assert publish(broker, pki).returncode == 0


def test_whoever_goes_in_the_middle_of_a_record_is_gone(pki):
    with running(pki, f"cafile {pki.root.certificate}\nrequire_certificate true") as broker:
        slow = Slow(broker, pki, pki.client)
        slow.begin()
        assert slow.connect() == b"\x20\x02\x00\x00"  # Without keepalive.
        slow.socket.sendall(b"\x17\x03\x03\x00\x40abc")
        slow.socket.close()
        assert logged(broker, "Client slow closed its connection"), broker.log_text()


def test_a_handshake_without_end_keeps_nobody_busy(pki):
    with running(pki, head="connect_timeout 5") as broker:
        with socket.create_connection(("127.0.0.1", broker.port)) as endless:
            hello = b"\x01\x00\xff\xf0\x03\x03" + bytes(65000)
            pieces = [hello[at : at + 16000] for at in range(0, len(hello), 16000)]
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    endless.sendall(b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece)
                    time.sleep(0.1)
                while endless.recv(100):
                    pass
        assert logged(broker, "a message of the handshake has more than 32768 bytes")
        began = time.monotonic()
        assert publish(broker, pki).returncode == 0
        assert time.monotonic() - began < 2


def test_every_byte_comes_back(pki):
    with running(pki) as broker:
        assert publish(broker, pki).returncode == 0

        def memory():
            before = broker.log_text().count("bytes charged, ")
            broker.signal(signal.SIGUSR2)
            deadline = time.monotonic() + 3
            while broker.log_text().count("bytes charged, ") <= before or "resident in the process" not in broker.log_text():
                assert time.monotonic() < deadline
                time.sleep(0.05)
            time.sleep(0.2)
            block = broker.log_text().rsplit("topic filters.", 1)[1]
            lines = [line.split("Memory of ")[1] for line in block.splitlines() if "Memory of " in line]
            return {line.split(":")[0]: int(line.split(": ")[1].split()[0]) for line in lines}

        context = ssl.create_default_context(cafile=str(pki.root.certificate))
        before = memory()
        held = []
        for number in range(50):
            secure = context.wrap_socket(socket.create_connection(("127.0.0.1", broker.port)), server_hostname="localhost")
            name = f"c{number}".encode()
            secure.sendall(b"\x10" + bytes([12 + len(name)]) + b"\x00\x04MQTT\x04\x02\x00\x00\x00" + bytes([len(name)]) + name)
            assert secure.recv(4) == b"\x20\x02\x00\x00"
            held.append(secure)
        during = memory()
        assert during["tls"] > 50 * 2000
        for secure in held:
            secure.close()
        time.sleep(0.5)
        assert memory().get("tls", 0) == before.get("tls", 0) == 0
        assert memory()["connections"] <= before["connections"] + 200_000, "what threads share stays"
