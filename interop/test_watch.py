"""`plimsoll watch` on real targets: mosquitto with more and more retained messages, one that leaks, JVMs that leak."""

import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

import broker as brokers
import overload
from broker import Broker
import netty
from durable import STAY
from pki import Authority
from raw import Raw, frame, string
from watching import LOOK_SECONDS, MINUTES_PER_LOOK, Watch, replay, stretched

pytestmark = [pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own tool"), pytest.mark.xdist_group("measures")]

HERE = Path(__file__).resolve().parent
# 40 hours, at ten looks a second and four minutes for each.
SECONDS = 60
# The leak of the second mosquitto: a name of 36 bytes and its end, in a block of 48.
FORGOTTEN_BYTES = 48
# The leak of the JVM, ten times a second.
UNRELEASED_BYTES = 64 * 1024
DIRECT_LIMIT = 96 << 20


def retain(client, numbers):
    """Publishes retained messages at QoS 1 on these sensors' topics, and waits for all acknowledgements."""
    client.socket.sendall(
        b"".join(
            frame(0x33, string(f"plant/{number % 14}/sensor/{number}/state") + struct.pack(">H", number % 65000 + 1) + bytes(300))
            for number in numbers
        )
    )
    for _ in numbers:
        assert client.read()[0] == 0x40


def forgetful_mosquitto(directory):
    """Debian's, which forgets a topic's name at each PUBACK."""
    library = directory / "forgetful.so"
    source = HERE / "watch" / "forgetful.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    broker = Broker("sys_interval 1\npersistence false\n", broker="mosquitto")
    os.environ["LD_PRELOAD"] = str(library)
    try:
        return broker.start()
    finally:
        del os.environ["LD_PRELOAD"]


class Jvm:
    """A JVM that leaks memory beside its heap; each has a process of its own behind one pid file."""

    def __init__(self, directory, port):
        command = ["java", "-Xmx64m", f"-XX:MaxDirectMemorySize={DIRECT_LIMIT}", str(HERE / "watch" / "Leak.java")]
        self.process = subprocess.Popen([*command, str(port), str(UNRELEASED_BYTES), "100"])
        (directory / "jvm.pid").write_text(f"{self.process.pid}\n")

    def stop(self):
        self.process.kill()
        self.process.wait()


CONFIG = """
every = "{look}s"
history = "{directory}/history"

[[target]]
name = "growing"
pid = {growing.process.pid}
[[target.accounts]]
preset = "mosquitto"
url = "mqtt://127.0.0.1:{growing.port}"

[[target]]
name = "forgetful"
pid = {forgetful.process.pid}
[[target.accounts]]
preset = "mosquitto"
url = "mqtt://127.0.0.1:{forgetful.port}"

[[target]]
name = "jvm"
pid_file = "{directory}/jvm.pid"
[[target.accounts]]
preset = "json"
url = "http://127.0.0.1:{jvm_port}/memory"
every = "{look}s"
map = {{ direct = "/used", direct_limit = "/limit" }}

[[target]]
name = "platform"
pid = {platform.process.pid}
[[target.accounts]]
preset = "jolokia"
url = "{jolokia}"
every = "{look}s"
[[target.accounts]]
preset = "json"
url = "{counter}"
every = "{look}s"
map = {{ direct = "/used", direct_limit = "/limit", connections = "/connections", published_total = "/messages" }}
"""


class Run:
    """Four targets under one `plimsoll watch`, for a minute."""

    def __init__(self, directory):
        self.directory = directory
        growing = Broker("sys_interval 1\npersistence false\n", broker="mosquitto").start()
        forgetful = forgetful_mosquitto(directory)
        platform = self.platform = netty.Platform(netty.compiled(directory / "classes"), counter=True)
        jolokia, counter = platform.url(), platform.url("/netty")
        jvm_port = brokers.free_port()
        config = directory / "watch.toml"
        config.write_text(CONFIG.format(look=LOOK_SECONDS, **locals()))
        self.added = self.updated = self.forgotten = 0
        self.jvms = []
        with Watch(directory, "--config", config) as self.watch:
            # The JVM is watched before it is there.
            time.sleep(0.5)
            try:
                self.drive(Raw(growing.port, "plant", clean=True), Raw(forgetful.port, "plant", clean=True), jvm_port)
                self.code = self.watch.end()
            finally:
                for target in (*self.jvms, growing, forgetful, platform):
                    target.stop()

    def drive(self, growing, forgetful, jvm_port):
        """What the targets are made to do."""
        began = time.monotonic()
        self.jvms.append(Jvm(self.directory, jvm_port))
        while (elapsed := time.monotonic() - began) < SECONDS:
            retain(growing, range(self.added, self.added + 40))
            self.added += 40
            # Updates of the same topics come and go, so that it can be told whether the hours or they leak.
            if elapsed % 2 < 1:
                for _ in range(2):
                    retain(forgetful, range(300))
                self.updated += 600
                self.platform.talk(20, forgotten=True)
                self.forgotten += 20
            if elapsed > SECONDS / 3 and len(self.jvms) == 1:
                self.jvms[0].stop()
                self.jvms.append(Jvm(self.directory, jvm_port))
            time.sleep(LOOK_SECONDS)

    def judged(self, target, minutes=MINUTES_PER_LOOK):
        """Hours that the stretched series of a target has, and what is thought of it."""
        path = self.directory / f"{target}.csv"
        hours = stretched(self.watch.looks(target), path, minutes)
        assert hours > 14, "too few looks to judge by"
        return hours, replay(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    if not shutil.which("java"):
        pytest.fail("there is no JVM: apt-get install openjdk-17-jdk-headless")
    done = Run(tmp_path_factory.mktemp("watch"))
    assert done.code == 0, done.watch.output
    return done


def test_a_mosquitto_that_retains_more_and_more_grows_with_its_state(run):
    last = run.watch.looks("growing")[-1]
    # Its own $SYS topics are retained too; and it says so once a second, in which many are added.
    assert 0.9 * run.added < last["retained"] < run.added + 100
    assert last["account_bytes"] > last["retained"] * 300
    assert last["extras"]["store_bytes"] > last["retained"] * 280
    _, result = run.judged("growing")
    assert result["verdict"] == "growing_with_state", result
    assert result["alarms"] == [], result


def test_a_mosquitto_that_forgets_a_topic_at_each_update_leaks(run):
    looks = run.watch.looks("forgetful")
    assert looks[-1]["rss_bytes"] - looks[20]["rss_bytes"] > 0.7 * FORGOTTEN_BYTES * run.updated, "it does leak"
    assert looks[-1]["retained"] == looks[50]["retained"], "and has no more to hold"
    # It grows by what two halves of each second differ in, which has to be seen for days.
    hours, result = run.judged("forgetful", 3 * MINUTES_PER_LOOK)
    assert result["verdict"] == "leaking" and result["view"] == "resident", result
    expected = FORGOTTEN_BYTES * run.updated / hours
    assert abs(result["rate_bytes_per_hour"] / expected - 1) < 0.25, (result, expected)


def test_a_jvm_that_leaks_beside_its_heap_leaks_by_its_counter_over_a_restart(run):
    looks = [look for look in run.watch.looks("jvm") if "direct_bytes" in look]
    before, after = ([look for look in looks if look["pid"] == jvm.process.pid] for jvm in run.jvms)
    assert len(before) > 50 and len(after) > 100
    assert before[-1]["direct_bytes"] % UNRELEASED_BYTES == 0 and before[-1]["direct_limit_bytes"] == DIRECT_LIMIT
    assert after[0]["direct_bytes"] < before[-1]["direct_bytes"], "that is the counter of the process before"
    grown = after[-1]["direct_bytes"] - after[0]["direct_bytes"]
    assert grown > 100 * UNRELEASED_BYTES
    assert after[-1]["rss_bytes"] - after[0]["rss_bytes"] > grown * 0.5, "it shows in RSS too"
    events = run.watch.events("jvm")
    lives = [name for name in events if name in ("vanished", "appeared", "restarted")]
    assert lives[:2] == ["vanished", "appeared"] and lives[-1] == "restarted", events
    assert "source_lost" in events and "source_found" in events, events
    assert "jvm was restarted: process" in run.watch.output
    _, result = run.judged("jvm")
    assert result["verdict"] == "leaking" and result["view"] == "direct", result
    assert abs(result["rate_bytes_per_hour"] * MINUTES_PER_LOOK / (60 * UNRELEASED_BYTES) - 1) < 0.25, result
    assert result["limit_in_s"] > 0, result


def test_a_netty_that_forgets_to_release_buffers_leaks_by_its_counter_with_each_message(run):
    looks = [look for look in run.watch.looks("platform") if "direct_bytes" in look and "heap_used_bytes" in look]
    assert looks[-1]["published_total"] == run.forgotten and looks[-1]["direct_limit_bytes"] == netty.LIMIT
    grown = looks[-1]["direct_bytes"] - looks[0]["direct_bytes"]
    assert 0.9 < grown / (netty.BUFFER * run.forgotten) < 1.2, "Netty has it in chunks"
    assert looks[-1]["rss_bytes"] - looks[0]["rss_bytes"] > grown * 0.7, "it shows in RSS too"
    assert max(look["heap_used_bytes"] for look in looks) < 64 << 20, "and not in the heap"
    hours, result = run.judged("platform")
    assert result["verdict"] == "leaking" and result["view"] == "direct", result
    expected = netty.BUFFER * run.forgotten / hours
    assert abs(result["rate_bytes_per_hour"] / expected - 1) < 0.25, (result, expected)
    assert result["limit_in_s"] > 0, result


def test_a_plimsoll_is_read_over_tls_and_by_its_ledger(tmp_path):
    authority = Authority(tmp_path, "root")
    certificate, key = authority.issue("server", names=["localhost"])
    passwords, secret, tls, http = tmp_path / "passwords", tmp_path / "secret", brokers.free_port(), brokers.free_port()
    subprocess.run([brokers.program(), "passwd", "-c", "-b", passwords, "watch", "a:b c"], check=True, capture_output=True)
    secret.write_text("a:b c\n")
    config = f"""{STAY}persistence false
sys_interval 1
per_listener_settings true
listener {tls} 127.0.0.1
certfile {certificate}
keyfile {key}
password_file {passwords}
allow_anonymous false
listener {http} 127.0.0.1
protocol http_api
allow_anonymous true
"""
    with brokers.Broker(config) as broker:
        login = ["--user", "watch", "--password-file", secret, "--cafile", authority.certificate]
        accounts = ["--accounts", f"mosquitto=mqtts://localhost:{tls}", "--map", "sys_sessions=$SYS/broker/clients/total"]
        flags = ["--pid", broker.process.pid, "--name", "it", "--every", "200ms", *accounts, *login]
        with Watch(tmp_path, *flags) as watch:
            over_tls = watch.await_line(lambda line: line.get("connections") == 1)
        assert over_tls["extras"]["sys_sessions"] == 1, over_tls
        # Somebody whom nobody has vouched for.
        untrusted = [flag for flag in flags if flag not in ("--cafile", authority.certificate)]
        with Watch(tmp_path, *untrusted) as watch:
            watch.await_line(lambda line: line.get("event") == "source_lost")
            assert watch.end() == 0, watch.output
        assert f"mqtts://localhost:{tls} does not answer: TLS: " in watch.output, watch.output
        assert watch.output.count("does not answer") == 1, "said once"
        ledger = ["--pid", broker.process.pid, "--name", "it", "--every", "200ms", "--accounts", f"plimsoll=http://127.0.0.1:{http}"]
        with Watch(tmp_path, *ledger) as watch:
            by_ledger = watch.await_line(lambda line: "allocated" in line.get("extras", {}))
        assert 0 < by_ledger["account_bytes"] < by_ledger["extras"]["allocated"] < by_ledger["rss_bytes"], by_ledger
        assert by_ledger["connections"] == by_ledger["published_total"] == 0, by_ledger
        assert by_ledger["retained"] > 0, "what it publishes to $SYS"


def test_what_cannot_be_watched_is_said_and_a_wrong_configuration_changes_nothing(tmp_path):
    def failed(*flags):
        command = [brokers.program("plimsoll"), "watch", *map(str, flags)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        return done.returncode, done.stderr

    code, text = failed("--pid", 1, "--accounts", "rabbit")
    assert code == 2 and "mosquitto, plimsoll, jolokia" in text
    code, text = failed("--pid", 1, "--process", "x")
    assert code == 3 and "cannot be used with" in text
    config = tmp_path / "watch.toml"
    config.write_text("[[target]]\npid = 1\ncolour = 'red'\n")
    code, text = failed("--config", config)
    assert code == 2 and str(config) in text and "colour" in text
    code, text = failed("replay", config)
    assert code == 2 and f"{config}, line 1" in text

    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        one, two = (f"[[target]]\nname = '{name}'\npid = {child.pid}\n" for name in ("one", "two"))
        config.write_text(one)
        with Watch(tmp_path, "--config", config, "--every", "100ms") as watch:
            time.sleep(1)
            config.write_text("[[target]]\n")
            watch.process.send_signal(signal.SIGHUP)
            time.sleep(0.5)
            config.write_text(one + two)
            watch.process.send_signal(signal.SIGHUP)
            time.sleep(0.5)
            assert watch.end(signal.SIGINT) == 0
        assert "All stays as it was." in watch.output and "The configuration was read again." in watch.output
        assert watch.looks("one") and watch.looks("two")
        assert watch.events("one") == watch.events("two") == ["appeared"], "the first one was not disturbed"
    finally:
        child.kill()
        child.wait()


# Holds 24 MiB, and takes more than a cgroup of 64 MiB has when it is told to.
GREEDY = """
import signal, time
held = bytearray(b"x" * (24 << 20))
signal.signal(signal.SIGUSR1, lambda *_: held.extend(b"x" * (200 << 20)))
print("ready", flush=True)
while True:
    time.sleep(0.1)
"""


def test_a_cgroup_is_watched_as_a_whole_until_the_kernel_kills_in_it(tmp_path):
    try:
        group = overload.MemoryGroup(64 << 20)
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")

    def enter():
        (group.path / "cgroup.procs").write_text(str(os.getpid()))

    # The oldest process of the group is small, as a container's first one is.
    small = subprocess.Popen(["sleep", "60"], preexec_fn=enter)
    greedy = subprocess.Popen([sys.executable, "-c", GREEDY], stdout=subprocess.PIPE, preexec_fn=enter)
    try:
        greedy.stdout.readline()
        flags = ["--cgroup", group.path, "--name", "it", "--every", "100ms", "--history", tmp_path / "history"]
        for _ in range(2):
            # The second one goes on from the history of the first.
            with Watch(tmp_path, *flags) as watch:
                time.sleep(1)
                assert watch.end() == 0, watch.output
            recorded = history_of(tmp_path / "history" / "it.history")
            assert 24 << 20 < recorded < 64 << 20, "memory of the group, not of its oldest process"
        with Watch(tmp_path, *flags) as watch:
            time.sleep(0.5)
            greedy.send_signal(signal.SIGUSR1)
            greedy.wait(20)
            time.sleep(0.5)
            assert watch.end() == 0, watch.output
        assert group.kills() == 1
        assert "the kernel has killed 1 of its processes for want of memory" in watch.output
    finally:
        for process in (small, greedy):
            process.kill()
            process.wait()
        group.remove()


def history_of(path):
    """The resident set of the last record (docs/formats.md)."""
    return struct.unpack_from("<3d", path.read_bytes()[-216:])[2]


def test_history_goes_on_after_a_restart_of_watch(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        flags = ["--pid", child.pid, "--name", "it", "--every", "100ms", "--history", tmp_path / "history"]
        with Watch(tmp_path, *flags) as watch:
            time.sleep(1)
            # Two would write over each other.
            command = [brokers.program("plimsoll"), "watch", *map(str, flags)]
            again = subprocess.run(command, capture_output=True, text=True, timeout=20)
            assert again.returncode == 2 and "another `plimsoll watch`" in again.stderr
            assert watch.end() == 0
        before = watch.looks("it")[-1]
        recorded = (tmp_path / "history" / "it.history").stat().st_size
        assert recorded > 200, "the minute that has begun is written at the end"
        with Watch(tmp_path, *flags) as watch:
            time.sleep(1)
            assert watch.end() == 0
        assert (tmp_path / "history" / "it.history").stat().st_size > recorded
        assert watch.looks("it")[-1]["start_s"] == before["start_s"], "it is known to be the same process"
        assert "restarted" not in watch.events("it")
    finally:
        child.kill()
        child.wait()
