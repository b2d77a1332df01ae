"""Passwords and rules: Debian's mosquitto and plimsoll take the same decisions on generated files.

Each world is a password file, an ACL file and clients, drawn from a seed, and both brokers are asked
the same: who is let in, which publishes arrive, what each client is sent of what is published, of
what is retained and of wills, and who stays over a reload. `SEEDS=40 interop/run -k differential`
looks longer. What differs on purpose is in docs/access.md.
"""

import base64
import contextlib
import hashlib
import os
import random
import signal
import socket
import struct
import time

import pytest

import broker as brokers
from raw import frame, packet_at, string

pytestmark = [
    pytest.mark.skipif(
        brokers.name() != "plimsoll" or not os.path.exists(brokers.program("mosquitto")),
        reason="compares plimsoll with mosquitto",
    ),
    pytest.mark.xdist_group("differential"),
]

SEEDS = int(os.environ.get("SEEDS", "4"))
DECISIONS = 5000  # that the seeds of CI take at least
AT_ONCE = 10  # unacknowledged publishes
NAMES = ["alice", "bob", "a/b", "a+b", "#", "two words", "ünal", "%u", "$x", "c1"]
CLIENTS = ["c1", "c2", "a", "b/c", "x+", "%c", "ünal", "$x", "alice", "y#"]
LEVELS = ["a", "b", "c", "", "alice", "c1", "ünal", "%u", "two words"]
TOPICS = 110  # of a world
OBSERVER, WRITER, FENCE = "observer", "writer", "zz/fence"


class Peer:
    """A client of 3.1.1 or 5.0. `code` is what CONNACK said; nothing if there was none."""

    def __init__(self, port, version, name, username=None, password=None, will=None, clean=True):
        self.version, self.code, self.messages, self.number, self.buffer = version, None, [], 0, b""
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.socket.settimeout(10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        nothing = b"\0" if version == 5 else b""
        flags, payload = 2 * clean, string(name)
        if will is not None:
            flags |= 4
            payload += nothing + string(will[0]) + string(will[1])
        for bit, value in ((128, username), (64, password)):
            if value is not None:
                flags |= bit
                payload += string(value)
        self.send(0x10, b"\0\4MQTT" + bytes([version, flags, 0, 60]) + nothing + payload)
        with contextlib.suppress(ConnectionError):
            first, body = self.packet()
            assert first == 0x20
            self.code = body[1]

    def send(self, first, body):
        self.socket.sendall(frame(first, body))

    def packet(self):
        """The next packet: (first byte, body)."""
        while True:
            if packet := packet_at(self.buffer):
                first, body, end = packet
                self.buffer = self.buffer[end:]
                return first, body
            more = self.socket.recv(1 << 16)
            if not more:
                raise ConnectionError("closed")
            self.buffer += more

    def wait(self, kind):
        """The body of the next packet of a kind; messages before it are kept."""
        while True:
            first, body = self.packet()
            if first >> 4 == kind:
                return body
            if first >> 4 != 3:
                raise ConnectionError(f"packet {first:02x}")
            length = int.from_bytes(body[:2], "big")
            start = 2 + length
            if first & 6:
                self.send(0x40, body[start : start + 2])
                start += 2
            payload = body[start + (self.version == 5) :]
            self.messages.append((body[2 : 2 + length].decode(), payload.decode()))

    def identifier(self):
        self.number += 1
        return struct.pack(">H", self.number)

    def subscribe(self, *filters, qos=0):
        """Answers what SUBACK says."""
        nothing = b"\0" if self.version == 5 else b""
        self.send(0x82, self.identifier() + nothing + b"".join(string(each) + bytes([qos]) for each in filters))
        return list(self.wait(9)[2 + len(nothing) :])

    def publish(self, messages, retain=False):
        """Publishes (topic, payload) pairs with QoS 1. Answers what each PUBACK says."""
        nothing, codes = (b"\0" if self.version == 5 else b""), []
        for start in range(0, len(messages), AT_ONCE):
            some = messages[start : start + AT_ONCE]
            for topic, payload in some:
                self.send(0x32 | retain, string(topic) + self.identifier() + nothing + payload.encode())
            for _ in some:
                body = self.wait(4)
                codes.append(body[2] if len(body) > 2 else 0)
        return codes

    def taken(self):
        """What has come until now, once each, after the broker has done all that was asked before."""
        self.send(0xC0, b"")
        self.wait(13)
        messages, self.messages = sorted(set(self.messages)), []
        return messages

    def stays(self):
        """Whether the connection is still there."""
        try:
            self.taken()
        except OSError:
            return False
        return True

    def drop(self):
        """Ends the connection without DISCONNECT."""
        self.socket.close()


def hashed(rng, password, kind):
    """A password as it stands in a file."""
    salt = bytes(rng.randrange(256) for _ in range(12))
    written = base64.b64encode(salt).decode()
    if kind == 6:
        key = hashlib.sha512(password.encode() + salt).digest()
        return f"$6${written}${base64.b64encode(key).decode()}"
    iterations = rng.choice([1, 101, 150])
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations, 64)
    return f"$7${iterations}${written}${base64.b64encode(key).decode()}"


class World:
    """Users, rules, clients and topics, drawn from a seed."""

    def __init__(self, seed):
        rng = self.rng = random.Random(f"access {seed}")
        self.anonymous = rng.random() < 0.6
        self.mount = rng.choice(["", "", "m/", "a/", "m"])
        self.per_listener = rng.random() < 0.5
        self.users = {name: f"pw-{name}-{rng.randrange(1000)}" for name in rng.sample(NAMES, rng.randint(5, len(NAMES)))}
        self.rules = self.draw_rules()
        # The same name may be there several times, with different identifiers.
        names = [rng.choice([*self.users, *self.users, None] if self.anonymous else list(self.users)) for _ in CLIENTS]
        self.clients = [(name, identifier, rng.choice([4, 5])) for name, identifier in zip(names, CLIENTS, strict=True)]
        drawn = (self.draw_topic() for _ in range(10 * TOPICS))
        self.topics = list(dict.fromkeys(topic for topic in drawn if topic))[:TOPICS]

    def draw_filter(self, pattern):
        rng = self.rng
        levels = [rng.choice(LEVELS) for _ in range(rng.randint(1, 3))]
        for at in range(len(levels)):
            chance = rng.random()
            if chance < 0.3:
                levels[at] = "+"
            elif pattern and chance < 0.7:
                levels[at] = rng.choice(["%c", "%u", "%u", "x%c", "%u%c", "%c-%u", "%", "%%c", "%d", "c%"])
        if rng.random() < 0.4:
            levels[-1] = "#"
        if rng.random() < 0.12:
            levels[0] = rng.choice(["$x", "$x", "$y", "$SYS"])
        if rng.random() < 0.12:
            levels.insert(0, "m")
        return "/".join(levels) or "/"

    def draw_rules(self):
        """The lines, but for those of the observer and the writer."""
        rng, lines = self.rng, []
        for name in [None, *rng.sample(NAMES, 8), *rng.sample(NAMES, 2)]:
            if name is not None:
                lines.append(f"user {name}")
            if rng.random() < 0.1:
                lines += ["", "# a comment"]
            lines += [self.draw_line("topic") for _ in range(rng.randint(0, 6))]
            if rng.random() < 0.4:
                lines.append(self.draw_line("pattern"))
        return lines

    def draw_line(self, word):
        topic = self.draw_filter(word == "pattern")
        rights = ["read ", "write ", "readwrite ", "deny "]
        return f"{word} {self.rng.choice(rights if ' ' in topic else ['', *rights])}{topic}"

    def draw_topic(self):
        """A topic that some rule may be about."""
        rng = self.rng
        lines = [line for line in self.rules if line.startswith(("topic", "pattern"))]
        text = rng.choice(lines).split(" ", 1)[1]
        for word in ("read ", "write ", "readwrite ", "deny "):
            text = text.removeprefix(word)
        name, identifier = rng.choice(NAMES), rng.choice(CLIENTS)
        text = text.replace("%c", identifier).replace("%u", name) if rng.random() < 0.9 else text
        levels = []
        for level in text.split("/"):
            if level == "#":
                levels += [rng.choice(LEVELS) for _ in range(rng.randint(0, 2))]
            else:
                levels.append(rng.choice(LEVELS) if level == "+" or rng.random() < 0.1 else level)
        topic = "/".join(levels)
        if self.mount and rng.random() < 0.5:
            topic = topic.removeprefix(self.mount)
        return "" if "+" in topic or "#" in topic or topic.startswith("$SYS") else topic

    def files(self, directory):
        """Writes password and ACL file, with those in them who may do everything."""
        rng = random.Random(f"salts {len(self.rules)}")
        everything = "".join(f"user {name}\ntopic {word}#\ntopic {word}$x/#\ntopic {word}$y/#\n" for name, word in ((OBSERVER, "read "), (WRITER, "")))
        (directory / "acl").write_text("\n".join(self.rules) + f"\n{everything}")
        known = {**self.users, OBSERVER: "all", WRITER: "all"}
        lines = [f"{name}:{hashed(rng, password, rng.choice([6, 7, 7]))}\n" for name, password in known.items()]
        (directory / "passwords").write_text("# users\n" + "".join(lines))

    def config(self, directory, port, mounted_port, own):
        """The configuration: two listeners, one of them with a mount point."""
        access = f"allow_anonymous {str(self.anonymous).lower()}\nacl_file {directory}/acl\npassword_file {directory}/passwords\n"
        mount = f"mount_point {self.mount}\n" if self.mount else ""
        listeners = [f"listener {port} 127.0.0.1\n", f"listener {mounted_port} 127.0.0.1\n{mount}"]
        if self.per_listener:
            text = "per_listener_settings true\n" + "".join(each + access for each in listeners)
        else:
            text = access + "".join(listeners)
        return f"user root\n{own}sys_interval 1\nset_tcp_nodelay true\n{text}"


def started(name, world, own=""):
    """A broker for a world, with its second port."""
    server = brokers.Broker(broker=name)
    second = brokers.free_port()
    server.directory.chmod(0o755)
    world.files(server.directory)
    server.config.write_text(world.config(server.directory, server.port, second, own))
    server.start()
    return server, second


def asked(name, seed):
    """Everything that a broker decides in the world of a seed."""
    world, found = World(seed), {}
    server, second = started(name, world, "" if name == "mosquitto" else "acl_subscribe_deny false\n")
    try:
        ask_identities(world, server.port, found)
        ask_rules(name, world, (server.port, second), found)
        ask_reload(world, server, second, found)
        assert server.alive(), server.log_text()
    finally:
        server.stop()
        server.remove()
    return found


def ask_identities(world, port, found):
    """Who is let in."""
    for version in (4, 5):
        for name in [*NAMES, "nobody", "", "ALICE", None]:
            right = world.users.get(name)
            for password in {right, "wrong", "", None, f"{right} ", str(right)[:-1]} if name is not None else {None}:
                if version == 4 and name is None and password is not None:
                    continue
                peer = Peer(port, version, "guest", name, password)
                found["connect", version, name, password] = peer.code
                peer.drop()


def ask_rules(name, world, ports, found):
    """Who may publish what, and is sent what."""
    port, mounts = ports[0], ("", world.mount)

    def inside(number, topic):
        """A topic as the client of a mount point sees it; Mosquitto 2.0.11 forgets to take that off."""
        return topic.removeprefix(mounts[number % 2]) if name == "mosquitto" else topic

    observer = Peer(port, 4, OBSERVER, OBSERVER, "all")
    writer = Peer(port, 4, WRITER, WRITER, "all")
    assert observer.code == writer.code == 0
    observer.subscribe("#", "$x/#", "$y/#")

    def seen():
        """What has arrived at the observer since the last time, by payload."""
        writer.publish([(FENCE, "")])
        while (FENCE, "") not in observer.messages:
            observer.send(0xC0, b"")
            observer.wait(13)
        messages, observer.messages = observer.messages, []
        return {payload: topic for topic, payload in messages}

    # Mosquitto does not find `$x` for `$x/#` if nothing stands below it.
    retained = [(topic, f"kept {at}") for at, topic in enumerate(world.topics[::4]) if topic not in ("$x", "$y")]
    writer.publish(retained, retain=True)
    seen()
    clients = []
    for number, (user, identifier, version) in enumerate(world.clients):
        will = (world.rng.choice([topic for topic in world.topics]), f"will {number}")
        peer = Peer(ports[number % 2], version, identifier, user, world.users.get(user), will)
        found["client", number] = peer.code
        if peer.code == 0:
            clients.append((number, peer))
    for number, peer in clients:
        wide = ["#", "$x/#", "$y/#"]
        narrow = [world.rng.choice(world.topics), "+/+", "a/#", "$SYS/broker/version"]
        found["suback", number] = peer.subscribe(*(wide if number % 3 else narrow))
        kept = peer.taken()
        if number % 3 == 0 and not mounts[number % 2]:
            # Mosquitto sends retained messages for these, which MQTT 5.0 (4.8.2) forbids, and puts
            # the mount point before `$share`.
            found["shared", number] = peer.subscribe(f"$share/g{number}/b/#")
            peer.taken()
        for topic, payload in retained:
            found["retained", number, topic] = any(payload == text for _, text in kept)
        names = sorted(inside(number, topic) for topic, text in kept if text.startswith("kept"))
        found["retained names", number] = names
        found["version", number] = any(topic == "$SYS/broker/version" for topic, _ in kept)
    for number, peer in clients:
        messages = [(topic, f"{number} {at}") for at, topic in enumerate(world.topics)]
        codes = peer.publish(messages)
        arrived = seen()
        for (topic, payload), code in zip(messages, codes, strict=True):
            found["publish", number, topic] = (code, arrived.get(payload))
    for _, peer in clients:
        peer.taken()
    writer.publish([(topic, f"all {at}") for at, topic in enumerate(world.topics)])
    seen()
    for number, peer in clients:
        got = {payload: inside(number, topic) for topic, payload in peer.taken()}
        for at, topic in enumerate(world.topics):
            found["receive", number, topic] = got.get(f"all {at}")
    for number, peer in clients:
        peer.drop()
    deadline = time.monotonic() + 0.3
    wills = {}
    while time.monotonic() < deadline:
        wills.update(seen())
    for number, _ in clients:
        found["will", number] = wills.get(f"will {number}")
    observer.drop()
    writer.drop()


def ask_reload(world, server, second, found):
    """Who stays when users are gone, have other passwords, and rules are others."""
    clients = [
        (number, Peer((server.port, second)[number % 2], version, f"r{number}", name, world.users.get(name)))
        for number, (name, _, version) in enumerate(world.clients)
    ]
    clients = [(number, peer) for number, peer in clients if peer.code == 0]
    before = list(world.users)
    for name in before[::3]:
        del world.users[name]
    for name in before[1::3]:
        world.users[name] += "-changed"
    world.rules = world.draw_rules()
    world.anonymous = world.rng.random() < 0.5
    # A password that stays keeps its salt, too: who is let in by another salt is docs/access.md's subject.
    lines = dict(line.split(":", 1) for line in (server.directory / "passwords").read_text().splitlines()[1:])
    world.files(server.directory)
    rng = random.Random("other salts")
    kept = {name: lines[name] for name in before[2::3]} | {name: lines[name] for name in (OBSERVER, WRITER)}
    new = {name: hashed(rng, world.users[name], 7) for name in before[1::3]}
    (server.directory / "passwords").write_text("".join(f"{name}:{text}\n" for name, text in (kept | new).items()))
    own = "" if server.name == "mosquitto" else "acl_subscribe_deny false\n"
    server.config.write_text(world.config(server.directory, server.port, second, own))
    server.signal(signal.SIGHUP)
    time.sleep(0.7)
    writer = Peer(server.port, 4, WRITER, WRITER, "all")
    observer = Peer(server.port, 5, OBSERVER, OBSERVER, "all")
    assert writer.code == observer.code == 0, server.log_text()
    observer.subscribe("#", "$x/#", "$y/#")
    for number, peer in clients:
        stays = found["stays", number] = peer.stays()
        if stays:
            topics = world.topics[::3]
            codes = peer.publish([(topic, f"{number} {at}") for at, topic in enumerate(topics)])
            writer.publish([(FENCE, "")])
            arrived = {payload for _, payload in observer.taken()}
            for at, (topic, code) in enumerate(zip(topics, codes, strict=True)):
                found["publish again", number, topic] = (code, f"{number} {at}" in arrived)
        peer.drop()
    writer.drop()
    observer.drop()


JOE = "$7$101$IfgZNbl+2vTzcW1y$jYhF3TorlJhpENeA59zoHwcl5D90l69jEpsofJrbhOProcWQl+kBmRZAjIOsEYY+NI1B1dd4wt11YybMTKPf+Q=="
KEY = JOE.rsplit("$", 1)[1]

PASSWORD_FILES = [
    "",
    "\n\n",
    "# comment\n",
    "no colon\n",
    f"joe: {JOE}\n",
    "joe\n",
    f"joe:$6$IfgZNbl+2vTzcW1y${KEY}\n",
    f"joe:{JOE}",
    f"joe:{JOE}\n",
    f"joe:{JOE}\r\n",
    f"joe:{JOE} \n",
    f"joe:{JOE}\t\n",
    f" joe:{JOE}\n",
    f"\tjoe:{JOE}\n",
    f"joe :{JOE}\n",
    f"joe:{JOE}\n# jim:x\n",
    f"joe:{JOE}\n # jim\n",
    f"joe:$7$101${KEY}${KEY}\n",
    f"joe:$7$101$IfgZNbl+2vQ=${KEY}\n",
]
BROKEN_PASSWORD_FILES = [
    f"joe:{JOE}:more\n",
    f"joe::{JOE}\n",
    f":{JOE}\n",
    f"::joe:{JOE}\n",
    f" :{JOE}\n",
    f"joe:{JOE}\njoe:{JOE}\n",
    f"joe:{JOE}\n # jim:x\n",
    "joe:\n",
    "joe:plain\n",
    "joe:$\n",
    "joe:$6\n",
    "joe:$7$\n",
    f"joe:$9$x${KEY}\n",
    f"joe:$7$0$IfgZNbl+2vTzcW1y${KEY}\n",
    f"joe:$7$-1$IfgZNbl+2vTzcW1y${KEY}\n",
    f"joe:$7$many$IfgZNbl+2vTzcW1y${KEY}\n",
    f"joe:$7$101$IfgZNbl+2vT!${KEY}\n",
    f"joe:$7$101$IfgZNbl+2vTzcW1y${KEY[:-4]}\n",
    f"joe:$7$101$IfgZNbl+2vTzcW1y${KEY}$more\n",
    f"joe:$6$IfgZNbl+2vTzcW1y\n",
]
ACL_FILES = [
    "",
    "\n\n# comment\n",
    "topic a",
    "topic a\n",
    "topic a\r\n",
    " topic a\n",
    "topic\ta\n",
    "topic  a\n",
    "topic a \n",
    "topic read  a\n",
    "topic read\ta\n",
    "topic write a\n",
    "topic readwrite a\n",
    "topic deny a\n",
    "topic deny a\ntopic a\n",
    "topic a\ntopic deny a\n",
    "topic none a\n",
    "topic read\n",
    "topic a b\n",
    "topic read a b\n",
    "topic a # all\n",
    "topic write a # all\n",
    "topic\n",
    "topic \n",
    "TOPIC a\n",
    "topic READ a\n",
    "topics a\n",
    "pattern a\n",
    "pattern write a\n",
    "pattern\n",
    "pattern %c/a\n",
    "user\n",
    "user \n",
    "user joe\n",
    "user joe\ntopic a\n",
    "user  joe\ntopic a\n",
    "user joe \ntopic a\n",
    "user\tjoe\ntopic a\n",
    "user joe smith\ntopic a\n",
    "user joe\ntopic write a\nuser jim\ntopic b\nuser joe\ntopic read a\n",
    "user joe\n\n# comment\ntopic a\n",
    "user joe\npattern a\n",
    "topic a/#/b\n",
    "topic a+\n",
    "topic #\n",
    "topic +\n",
    "topic /\n",
    "topic $SYS/#\n",
    "topic $share/g/a\n",
    "nonsense\n",
    "a\n",
    " # indented comment\n",
    "#topic a\n",
    "topic a\n#\n",
]


def readings(name, directive, text, names):
    """What a broker makes of an access file: nothing if it does not start, or who may do what."""
    server = brokers.Broker(broker=name)
    server.directory.chmod(0o755)
    file = server.directory / "access"
    file.write_bytes(text.encode())
    own = "" if name == "mosquitto" else "acl_subscribe_deny false\n"
    listener = f"listener {server.port} 127.0.0.1\n{directive} {file}\nallow_anonymous true\n"
    server.config.write_text(f"user root\nset_tcp_nodelay true\n{own}{listener}")
    try:
        server.start()
    except RuntimeError:
        server.remove()
        return None
    found = {}
    for user in names:
        peer = Peer(server.port, 5, "c", user, "secret" if user else None)
        found[user] = peer.code
        if peer.code == 0:
            peer.subscribe("#", "$SYS/broker/version")
            # Who publishes in vain is told so (0x10) by one and not by the other; that is no access.
            codes = [code & 0x80 for code in peer.publish([(topic, topic) for topic in ("a", "b", "c/a", "a b", "/")])]
            found[user] = codes, [topic for topic, _ in peer.taken()]
        peer.drop()
    server.stop()
    server.remove()
    return found


USERS = ["joe", " joe", "joe ", "", "jim", "#", "::joe"]


@pytest.mark.parametrize("text", PASSWORD_FILES)
def test_differential_password_files(text):
    """Both make the same of a password file."""
    ours, theirs = (readings(name, "password_file", text, USERS) for name in ("plimsoll", "mosquitto"))
    assert ours == theirs


@pytest.mark.parametrize("text", BROKEN_PASSWORD_FILES)
def test_differential_broken_password_files(text):
    """Mosquitto 2.0.11 goes on without a user whose line it does not understand; plimsoll says so and ends."""
    assert readings("plimsoll", "password_file", text, []) is None
    theirs = readings("mosquitto", "password_file", text, USERS)
    assert theirs is not None


@pytest.mark.parametrize("text", ACL_FILES)
def test_differential_acl_files(text):
    """Both make the same of an ACL file, or do not start."""
    names = [None, "joe", "joe ", "joe smith", ""]
    ours, theirs = (readings(name, "acl_file", text, names) for name in ("plimsoll", "mosquitto"))
    assert ours == theirs


@pytest.mark.parametrize("restart", [False, True], ids=["reload", "restart"])
def test_differential_queues(restart):
    """What waited for a client is not sent if it may not be read by the time that the client is back."""
    found = {}
    for name in ("plimsoll", "mosquitto"):
        server = brokers.Broker(broker=name)
        server.directory.chmod(0o777)
        acl = server.directory / "acl"
        acl.write_text("user joe\ntopic read a/#\ntopic read b/#\nuser root\ntopic #\n")
        server.config.write_text(
            f"user root\nset_tcp_nodelay true\npersistence true\npersistence_location {server.directory}/\n"
            f"listener {server.port} 127.0.0.1\nallow_anonymous true\nacl_file {acl}\n"
        )
        server.start()
        connect = lambda: Peer(server.port, 4, "j", "joe", clean=False)  # noqa: B023, E731
        joe, root = connect(), Peer(server.port, 4, "r", "root")
        joe.subscribe("a/#", "b/#", qos=1)
        joe.taken()
        joe.drop()
        # As soon as the broker has noticed, it keeps what comes.
        while "j closed" not in server.log_text():
            time.sleep(0.02)
        root.publish([(topic, topic) for topic in ("a/1", "b/1", "a/2", "c/1", "b/2")])
        acl.write_text("user joe\ntopic read a/#\n")
        if restart:
            server.stop()
            server.start()
        else:
            server.signal(signal.SIGHUP)
            time.sleep(0.5)
        # What has waited is read from the store, and may come behind the answer to a ping.
        joe, came, deadline = connect(), [], time.monotonic() + 5
        while len(came) < 2 and time.monotonic() < deadline:
            came += joe.taken()
        found[name] = [topic for topic, _ in came + joe.taken()]
        joe.drop()
        server.stop()
        server.remove()
    assert found["plimsoll"] == found["mosquitto"] == ["a/1", "a/2"]


decisions = 0


@pytest.mark.parametrize("seed", range(SEEDS))
def test_differential(seed):
    """Both brokers decide the same in the world of a seed."""
    global decisions
    ours, theirs = asked("plimsoll", seed), asked("mosquitto", seed)
    differing = [(what, ours.get(what), theirs.get(what)) for what in {**ours, **theirs} if ours.get(what, "-") != theirs.get(what, "-")]
    shown = "\n".join(f"{what}: plimsoll {one}, mosquitto {other}" for what, one, other in differing[:40])
    assert not differing, f"seed {seed}: {len(differing)} of {len(ours)} decisions differ:\n{shown}"
    decisions += len(ours)


@pytest.mark.skipif(SEEDS < 4, reason="few worlds were asked for")
def test_differential_is_long_enough():
    """So many decisions have been compared."""
    assert decisions >= DECISIONS, decisions
