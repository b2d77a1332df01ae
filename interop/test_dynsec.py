"""Dynamic security: `mosquitto_ctrl dynsec` works, and commands and decisions are those of the plugin.

The differential test runs the same commands against Debian's mosquitto 2.0.11 with its plugin, and
compares every answer, then what clients may do.
"""

import json
import os
import random
import shutil
import stat
import subprocess
import time
from pathlib import Path

import pytest

import broker as brokers
from session import Refused, Session

TOPIC = "$CONTROL/dynamic-security/v1"
PLUGIN = "/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so"
ADMIN = ("admin", "admin password")
SEED = int(os.environ.get("SEED", "7"))
COMMANDS = int(os.environ.get("COMMANDS", "400"))

pytestmark = pytest.mark.skipif(
    brokers.name() != "plimsoll" or not shutil.which("mosquitto_ctrl") or not Path(PLUGIN).exists(),
    reason="needs mosquitto_ctrl and Mosquitto's plugin",
)


class Secured(brokers.Broker):
    """A broker with dynamic security, its file made by `mosquitto_ctrl dynsec init`."""

    def __init__(self, broker="plimsoll", file=None, more=""):
        super().__init__(broker=broker)
        self.file = self.directory / "ds.json"
        if file is None:
            self.ctrl_offline("init", str(self.file), *ADMIN)
        elif file:
            shutil.copy(file, self.file)
        text = self.config.read_text().replace("user root\n", "")
        plugin = f"user root\nlog_type all\nplugin {PLUGIN}\nplugin_opt_config_file {self.file}\n{more}\n"
        self.config.write_text(plugin + text)

    def ctrl_offline(self, *arguments):
        """`mosquitto_ctrl dynsec` without a broker."""
        subprocess.run(["mosquitto_ctrl", "dynsec", *arguments], check=True, capture_output=True, timeout=10)

    def ctrl(self, *arguments):
        """`mosquitto_ctrl dynsec`; answers what it prints."""
        command = ["mosquitto_ctrl", "-h", "127.0.0.1", "-p", str(self.port), "-u", ADMIN[0], "-P", ADMIN[1], "dynsec", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout


class Admin(Session):
    """The administrator."""

    def __init__(self, port, name="ctl", username=ADMIN[0], password=ADMIN[1]):
        super().__init__(port, name, username, password)
        assert self.subscribe(TOPIC + "/response")[0] < 3

    def run(self, *commands):
        """Carries commands out; answers the responses."""
        return self.raw(json.dumps({"commands": list(commands)}).encode())

    def raw(self, payload):
        """Publishes a payload; answers the responses."""
        self.publish(TOPIC, payload)
        topic, answer = self.next()
        assert topic == TOPIC + "/response"
        return json.loads(answer)["responses"]


def test_mosquitto_ctrl_from_init_to_disabling():
    with Secured() as broker:
        for arguments in [
            ("createRole", "sensor"),
            ("addRoleACL", "sensor", "publishClientSend", "plant/#", "allow", "1"),
            ("addRoleACL", "sensor", "publishClientSend", "plant/secret", "deny", "2"),
            ("addRoleACL", "sensor", "subscribePattern", "plant/+/set", "allow"),
            ("createGroup", "sensors"),
            ("addGroupRole", "sensors", "sensor"),
            ("createClient", "s1", "-p", "pw1"),
            ("addGroupClient", "sensors", "s1"),
        ]:
            broker.ctrl(*arguments)
        assert broker.ctrl("listClients").split() == ["admin", "s1"]
        assert "plant/# (priority: 1)" in broker.ctrl("getRole", "sensor")
        assert "sensors" in broker.ctrl("getClient", "s1")
        with Session(broker.port, "c1", "s1", "pw1") as sensor:
            assert sensor.publish("plant/1") in (0, 0x10)
            assert sensor.publish("plant/secret") == 0x87
            assert sensor.publish("office") == 0x87
            assert sensor.subscribe("plant/1/set", "plant/#") == [1, 0x87]
            broker.ctrl("disableClient", "s1")
            assert sensor.ended() == 0x98
        with pytest.raises(Refused, match="0x87"):
            Session(broker.port, "c1", "s1", "pw1")
        broker.ctrl("enableClient", "s1")
        broker.ctrl("setClientPassword", "s1", "pw2")
        with pytest.raises(Refused):
            Session(broker.port, "c1", "s1", "pw1")
        Session(broker.port, "c1", "s1", "pw2").close()
        broker.ctrl("setDefaultACLAccess", "subscribe", "allow")
        assert "subscribe            : allow" in broker.ctrl("getDefaultACLAccess")
        assert stat.S_IMODE(broker.file.stat().st_mode) == 0o600
        broker.stop()
        with Secured("mosquitto", broker.file) as other:
            assert other.ctrl("listClients").split() == ["admin", "s1"]
            with Session(other.port, "c1", "s1", "pw2") as sensor:
                assert sensor.publish("plant/secret") == 0x87
            other.ctrl("createClient", "s2", "-p", "pw3")
            other.stop()
            with Secured("plimsoll", other.file) as back:
                assert back.ctrl("listClients").split() == ["admin", "s1", "s2"]
                Session(back.port, "c1", "s2", "pw3").close()


def test_only_who_asks_is_answered_and_only_who_may_is_heard():
    with Secured() as broker, Admin(broker.port) as admin:
        admin.run({"command": "createClient", "username": "other", "password": "p"})
        with Admin(broker.port, "second") as second, Session(broker.port, "c", "other", "p") as other:
            assert other.publish(TOPIC, b'{"commands":[{"command":"listClients"}]}') == 0x87
            assert other.subscribe(TOPIC + "/response") == [0x87]
            (answer,) = admin.run({"command": "listClients"})
            assert answer["data"]["clients"] == ["admin", "other"]
            second.ping()
            assert second.messages == []


def test_anonymous_clients_have_the_rights_of_their_group():
    with Secured() as broker, Admin(broker.port) as admin:
        with Session(broker.port, "a") as nobody:
            assert nobody.publish("open/x") == 0x87
        admin.run(
            {"command": "createRole", "rolename": "r", "acls": [{"acltype": "publishClientSend", "topic": "open/#", "allow": True}]},
            {"command": "createGroup", "groupname": "g", "roles": [{"rolename": "r"}]},
        )
        with Session(broker.port, "a") as nobody:
            admin.run({"command": "setAnonymousGroup", "groupname": "g"})
            assert nobody.ended() == 0x98
        with Session(broker.port, "a") as nobody:
            assert nobody.publish("open/x") in (0, 0x10)
            assert nobody.publish("else") == 0x87


def test_a_first_file_is_made_where_there_is_none():
    with Secured(file="") as broker:
        password = Path(f"{broker.file}.pw").read_text().strip()
        assert stat.S_IMODE(os.stat(f"{broker.file}.pw").st_mode) == 0o600
        with Admin(broker.port, password=password) as admin:
            assert admin.run({"command": "listRoles"})[0]["data"]["roles"] == ["admin"]


def test_a_mistake_in_the_file_stops_the_start_and_names_the_line():
    broker = Secured()
    broker.file.write_text('{\n"clients": [\n7]}')
    broker.spawn()
    assert broker.process.wait(10) == 3
    assert f"{broker.file}:3: this is not the JSON of dynamic security" in broker.log_text()
    broker.remove()


def test_a_listener_without_the_plugin_takes_no_commands():
    with Secured() as broker:
        open_port = brokers.free_port()
        text = broker.config.read_text()
        plugin, rest = text.split("listener ", 1)
        lines = plugin.splitlines()
        own = "\n".join(line for line in lines if "plugin" in line)
        other = "\n".join(line for line in lines if "plugin" not in line)
        broker.stop()
        broker.config.write_text(f"{other}\nper_listener_settings true\nlistener {rest}{own}\nlistener {open_port} 127.0.0.1\nallow_anonymous true\n")
        broker.start()
        create = {"command": "createClient", "username": "thief", "password": "p"}
        with Session(open_port, "thief") as thief:
            thief.publish(TOPIC, json.dumps({"commands": [create]}).encode())
            assert thief.publish("anything") in (0, 0x10)
        time.sleep(0.3)
        assert broker.ctrl("listClients").split() == ["admin"]
        broker.ctrl("createClient", "mine", "-p", "p")
        assert broker.ctrl("listClients").split() == ["admin", "mine"]


NAMES = ["a", "b", "c", "d", "ünï", "a b"]
TOPICS = ["x", "x/y", "x/+", "x/#", "+/y", "#", "x/y/z", "$SYS/#", "+/+/z", "/x", "x/"]
TYPES = ["publishClientSend", "publishClientReceive", "subscribeLiteral", "subscribePattern", "unsubscribeLiteral", "unsubscribePattern"]
PERMANENT = ["p1", "p2"]
PASSWORDS = ["p", "q", "long password", ""]


class Requests:
    """Commands at random, sensible and not."""

    def __init__(self, rng):
        self.rng = rng

    def name(self):
        return self.rng.choice(NAMES) if self.rng.random() < 0.97 else self.rng.choice(["\u0001", 7, None])  # 2.0.11 takes empty names, 2.1 does not

    def priority(self):
        return self.rng.choice([-5, -1, 0, 1, 1, 2, 100])

    def maybe(self, fields):
        """Some of the fields."""
        return {name: value() for name, value in fields.items() if self.rng.random() < 0.5}

    def members(self, field):
        some = self.rng.sample(NAMES, self.rng.randrange(4))
        return [{field: name, **self.maybe({"priority": self.priority})} for name in some]

    def permanent(self, field):
        """The same of those that are never deleted."""
        some = self.rng.sample(PERMANENT, self.rng.randrange(3))
        return [{field: name, **self.maybe({"priority": self.priority})} for name in some]

    def acls(self):
        # Each topic once for each type: what duplicates do is left open by Mosquitto.
        pairs = [(kind, topic) for kind in TYPES for topic in TOPICS]
        some = self.rng.sample(pairs, self.rng.randrange(6))
        return [{"acltype": kind, "topic": topic, "priority": self.priority(), "allow": self.rng.random() < 0.6} for kind, topic in some]

    def command(self):
        rng = self.rng
        texts = {"textname": lambda: rng.choice(["t", ""]), "textdescription": lambda: "d"}
        user, group, role = {"username": self.name()}, {"groupname": self.name()}, {"rolename": self.name()}
        paging = {"verbose": lambda: rng.random() < 0.7, "count": lambda: rng.choice([-1, 1, 2, 10]), "offset": lambda: rng.choice([0, 1, 3])}
        client = {**texts, "roles": lambda: self.members("rolename"), "groups": lambda: self.members("groupname")}
        # In 2.0.11 these two pass over members that are not there, where 2.1 refuses the command.
        there = {**texts, "roles": lambda: self.permanent("rolename"), "groups": lambda: self.permanent("groupname")}
        password = {"password": lambda: rng.choice(PASSWORDS)}
        acl = {"acltype": rng.choice([*TYPES, TYPES[0].upper(), "nonsense"]), "topic": rng.choice([*TOPICS, "x#", 7])}
        kinds = [
            ("createClient", {**user, **self.maybe({**client, **password, "clientid": lambda: rng.choice(["only", ""])})}, 6),
            ("modifyClient", {**user, **self.maybe({**there, **password})}, 3),
            ("deleteClient", user, 1),
            ("getClient", user, 2),
            ("listClients", self.maybe(paging), 1),
            ("setClientPassword", {**user, **self.maybe(password)}, 1),
            ("setClientId", {**user, **self.maybe({"clientid": lambda: rng.choice(["only", ""])})}, 1),
            ("addClientRole", {**user, **role, **self.maybe({"priority": self.priority})}, 3),
            ("removeClientRole", {**user, **role}, 1),
            ("enableClient", user, 2),
            ("disableClient", user, 1),
            ("createGroup", {**group, **self.maybe({**texts, "roles": lambda: self.members("rolename")})}, 5),
            # Its `roles` leave something behind in 2.0.11 that crashes it later.
            ("modifyGroup", {**group, **self.maybe({**texts, "clients": lambda: self.permanent("username")})}, 2),
            ("deleteGroup", group, 1),
            ("getGroup", group, 2),
            ("listGroups", self.maybe(paging), 1),
            ("addGroupClient", {**group, **user, **self.maybe({"priority": self.priority})}, 4),
            ("removeGroupClient", {**group, **user}, 1),
            ("addGroupRole", {**group, **role, **self.maybe({"priority": self.priority})}, 3),
            ("removeGroupRole", {**group, **role}, 1),
            # Which 2.0.11 lets be deleted.
            ("setAnonymousGroup", {"groupname": rng.choice(PERMANENT)}, 1),
            ("getAnonymousGroup", {}, 1),
            ("createRole", {**role, **self.maybe({**texts, "acls": self.acls})}, 6),
            ("modifyRole", {**role, **self.maybe({**texts, "acls": self.acls})}, 3),
            # Mosquitto 2.0.11 crashes when a client uses a deleted role that came with createClient,
            # createGroup or modifyGroup, so this role is never used.
            ("deleteRole", {"rolename": "unused"}, 1),
            ("getRole", role, 2),
            ("listRoles", self.maybe(paging), 1),
            ("addRoleACL", {**role, **acl, "allow": rng.random() < 0.6, **self.maybe({"priority": self.priority})}, 6),
            ("removeRoleACL", {**role, **acl}, 1),
            ("getDefaultACLAccess", {}, 1),
            ("setDefaultACLAccess", {"acls": [{"acltype": rng.choice(["publishClientSend", "publishClientReceive", "subscribe", "unsubscribe"]), "allow": rng.random() < 0.5}]}, 1),
            ("nonsense", {}, 1),
        ]
        name, fields, _ = rng.choices(kinds, [weight for *_, weight in kinds])[0]
        return {"command": name, **fields, **self.maybe({"correlationData": lambda: "c1"})}


def differences_known(command, ours, theirs):
    """Answers that differ, each with its reason."""
    if command.get("username") == "admin" or command.get("rolename") == "admin":
        return True
    return False


class Pair:
    """The same commands to both brokers, by an administrator who connects anew when he is expelled."""

    def __init__(self, ours, theirs):
        self.brokers, self.admins = (ours, theirs), [None, None]

    def run(self, command):
        return [self.one(index, command) for index in range(2)]

    def one(self, index, command):
        if self.admins[index] is None:
            self.admins[index] = Admin(self.brokers[index].port)
        (answer,) = self.admins[index].run(command)
        return answer


def decisions(port, username, password, identifier):
    """What a client may do: every kind of access with every topic."""
    try:
        session = Session(port, identifier, username, password)
    except Refused as refused:
        return {"connect": refused.reason}
    with session:
        told = {"connect": 0}
        for topic in TOPICS:
            told[f"subscribe {topic}"] = session.subscribe(topic)[0] >= 0x80
            told[f"unsubscribe {topic}"] = session.unsubscribe(topic)[0] >= 0x80
            if not set(topic) & set("+#"):
                told[f"publish {topic}"] = session.publish(topic) >= 0x80
        return told


def receptions(port, username, password, identifier, admin):
    """Which topics reach a client that may subscribe to something that matches."""
    try:
        session = Session(port, identifier, username, password)
    except Refused:
        return None
    with session:
        session.subscribe("#", "x/#", "x", "x/y")
        for topic in ["x", "x/y", "x/y/z", "/x", "x/"]:
            admin.publish(topic, topic.encode())
        admin.ping()
        time.sleep(0.05)
        session.ping()
        return sorted({topic for topic, _ in session.messages})


def test_commands_and_decisions_are_those_of_the_plugin():
    """Generated commands, then every decision for every client, several times over."""
    rng = random.Random(SEED)
    requests = Requests(rng)
    compared = 0
    with Secured() as ours, Secured("mosquitto") as theirs:
        pair = Pair(ours, theirs)
        # Someone whose messages reach everybody who may receive them.
        for command in [
            {"command": "createRole", "rolename": "zz", "acls": [{"acltype": "publishClientSend", "topic": "#", "allow": True, "priority": 0}]},
            {"command": "createClient", "username": "zz", "password": "zz", "roles": [{"rolename": "zz"}]},
            *({"command": "createGroup", "groupname": name} for name in PERMANENT),
            *({"command": "createClient", "username": name, "password": "p"} for name in PERMANENT),
            *({"command": "createRole", "rolename": name} for name in PERMANENT),
        ]:
            pair.run(command)
        senders = [Session(broker.port, "zz", "zz", "zz") for broker in pair.brokers]
        for round_number in range(4):
            for _ in range(COMMANDS // 4):
                command = requests.command()
                mine, other = pair.run(command)
                assert mine == other or differences_known(command, mine, other), f"{command}\nours:   {mine}\ntheirs: {other}"
                compared += 1
            for name in [*NAMES, *PERMANENT, None]:
                for password in PASSWORDS[:3] if name else [None]:
                    for identifier in ["only", f"i{round_number}"]:
                        mine, other = (decisions(broker.port, name, password, identifier) for broker in pair.brokers)
                        assert mine == other, f"{name} {password} {identifier}"
                        compared += len(mine)
                        if mine["connect"] == 0:
                            mine, other = (receptions(broker.port, name, password, identifier, sender) for broker, sender in zip(pair.brokers, senders))
                            assert mine == other, f"{name} receives"
                            compared += 5
        for sender in senders:
            sender.close()
    print(f"{compared} answers and decisions compared")
    assert compared > 1000
