"""The process as an operator meets it: flags, signals, exit codes, files."""

import contextlib
import json
import os
import pwd
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

import broker as brokers
from broker import logged

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own command line")

# A broker that root has started could not read a test's files again after it became another user.
STAY = "user root\n" if os.geteuid() == 0 else ""


def run(*arguments, **options):
    return subprocess.run([brokers.program(), *arguments], capture_output=True, text=True, timeout=10, **options)


@contextlib.contextmanager
def client(*command):
    """A client that runs meanwhile."""
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def listening(port, seconds=5):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.02)
    return False


def test_version_and_help():
    assert run("--version").stdout.startswith("plimsoll version ")
    help_text = run("-h")
    assert help_text.returncode == 0 and "--config-file" in help_text.stdout


def test_mistakes_in_flags_and_files_exit_with_3(tmp_path):
    assert run("--nonsense").returncode == 3
    missing = run("-c", str(tmp_path / "missing.conf"))
    assert missing.returncode == 3 and len(missing.stderr.strip().splitlines()) == 1
    config = tmp_path / "wrong.conf"
    config.write_text("listener 1883\nmax_queued_mesages 5\n")
    wrong = run("-c", str(config))
    assert wrong.returncode == 3
    assert f"{config}:2: max_queued_mesages: unknown directive; did you mean `max_queued_messages`?" in wrong.stderr
    assert run("check-config", "-c", str(config)).returncode == 3
    config.write_text("listener 1883\nallow_anonymous true\n")
    assert run("check-config", "-c", str(config)).returncode == 0
    assert run("-c", str(config), "--test-config").returncode == 0


def test_a_port_in_use_is_one_clear_line():
    with brokers.Broker() as broker:
        second = run("-c", str(broker.config))
        assert second.returncode == 1
        assert len(second.stderr.strip().splitlines()) == 1 and "already in use" in second.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly(number, tmp_path):
    broker = brokers.Broker(config=f"{STAY}pid_file {tmp_path}/pid").start()
    assert int((tmp_path / "pid").read_text()) == broker.process.pid
    broker.signal(number)
    assert broker.process.wait(3) == 0
    broker.remove()


def test_signals_that_do_not_end_it():
    with brokers.Broker(config=f"{STAY}max_queued_messages 5") as broker:
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGRTMIN, signal.SIGHUP):
            broker.signal(number)
        time.sleep(0.3)
        assert broker.alive()
        assert "Memory: " in broker.log_text()
        broker.config.write_text(broker.config.read_text() + "nonsense\n")
        broker.signal(signal.SIGHUP)
        time.sleep(0.3)
        assert broker.alive() and "nonsense: unknown directive" in broker.log_text() and "left as it is" in broker.log_text()


def publish(port, *arguments):
    return subprocess.run(["mosquitto_pub", "-p", str(port), "-t", "a", "-m", "b", *arguments], capture_output=True, timeout=10).returncode


def test_the_log_has_the_lines_that_tools_look_for():
    with brokers.Broker(config=STAY, listener="max_connections 1") as broker:
        port = broker.port
        assert logged(broker, f": Opening ipv4 listen socket on port {port}.\n")
        assert logged(broker, " running\n")
        publish(port, "-i", "one", "-V", "5", "-k", "42", "-u", "joe", "-P", "x")
        assert logged(broker, " as one (p5, c1, k42, u'joe').\n")
        assert logged(broker, ": Client one disconnected.\n")
        with socket.create_connection(("127.0.0.1", port)) as first:
            assert publish(port, "-i", "two") != 0
            assert logged(broker, ": Client connection from 127.0.0.1 denied: max_connections exceeded.\n")
            first.sendall(b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04evil\xf0\x00")
            assert logged(broker, ": Client evil disconnected due to malformed packet.\n")
        broker.config.write_text(broker.config.read_text().replace("allow_anonymous true", "allow_anonymous false"))
        broker.signal(signal.SIGHUP)
        time.sleep(0.3)
        deadline = time.monotonic() + 3
        while ": Client nobody disconnected, not authorised.\n" not in broker.log_text():
            assert time.monotonic() < deadline
            assert publish(port, "-i", "nobody") != 0
            time.sleep(0.02)


def test_a_reload_knows_its_listeners():
    """Each keeps its own settings wherever it stands in the file; they come and go while others stay connected."""
    closed, other = brokers.free_port(), brokers.free_port()
    with brokers.Broker(config=f"{STAY}per_listener_settings true\nsys_interval 1") as broker:
        text = broker.config.read_text()
        ours = text[text.index("listener ") :]
        broker.stop()
        second = f"listener {closed} 127.0.0.1\nallow_anonymous false\n"
        head = text[: text.index("listener ")]

        def reload(text):
            broker.config.write_text(text)
            broker.signal(signal.SIGHUP)
            time.sleep(0.3)

        broker.config.write_text(head + ours + second)
        broker.start()
        assert publish(broker.port) == 0 and publish(closed) != 0
        with client("mosquitto_sub", "-p", broker.port, "-t", "a") as stays:
            reload(head + second + ours + "max_qos 0\n")
            assert publish(broker.port) == 0 and publish(closed) != 0
            assert publish(broker.port, "-q", "1") != 0, "the change to our listener holds"
            reload(head + ours + second + f"listener {other} 127.0.0.1\nallow_anonymous true\n")
            assert publish(other) == 0, "a new listener"
            with client("mosquitto_sub", "-i", "goes", "-p", other, "-t", "a", "-V", "5"):
                assert logged(broker, " as goes (")
                reload(head + ours)
                assert not listening(other, 0.2) and not listening(closed, 0.2)
                assert logged(broker, "Client goes disconnected: Administrative action (0x98)."), "with its listener"
            reload(head + ours + f"listener {other} 127.0.0.1\nallow_anonymous true\n")
            assert publish(other) == 0, "and back"
            assert stays.poll() is None, "the others stayed connected"


def test_a_listener_moves_to_another_address_of_its_port():
    with brokers.Broker(config=STAY) as broker:
        text = broker.config.read_text()
        broker.config.write_text(text.replace(f"listener {broker.port} 127.0.0.1", f"listener {broker.port} 0.0.0.0"))
        broker.signal(signal.SIGHUP)
        assert logged(broker, f"Closing the listener on port {broker.port}.")
        assert listening(broker.port)
        # And stays where it is if the new address is none of ours.
        broker.config.write_text(text.replace(f"listener {broker.port} 127.0.0.1", f"listener {broker.port} 192.0.2.1"))
        broker.signal(signal.SIGHUP)
        assert logged(broker, "192.0.2.1 is not an address of this machine")
        assert logged(broker, "The running configuration was left as it is.")
        assert listening(broker.port) and publish(broker.port) == 0


def test_a_mistake_at_a_reload_is_named_and_changes_nothing():
    with brokers.Broker(config=f"{STAY}sys_interval 1") as broker:
        text = broker.config.read_text()
        taken = socket.create_server(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        broker.config.write_text(text + f"max_qos 0\nlistener {port} 127.0.0.1\n")
        broker.signal(signal.SIGHUP)
        assert logged(broker, f"port {port} on 127.0.0.1 is already in use")
        assert publish(broker.port, "-q", "1") == 0
        broker.config.write_text(text + "max_qso 0\n")
        broker.signal(signal.SIGHUP)
        assert logged(broker, "unknown directive; did you mean `max_qos`?")
        time.sleep(1.2)
        found = figures(broker.port)
        assert found["reload/failed"] == "2" and "max_qso" in found["reload/health"]
        broker.config.write_text(text)
        broker.signal(signal.SIGHUP)
        time.sleep(1.2)
        found = figures(broker.port)
        assert found["reload/succeeded"] == "1" and found["reload/health"] == "ok"
        taken.close()


SYS = """version uptime clients/total clients/connected clients/disconnected clients/active clients/inactive clients/expired
clients/maximum connections/socket/count messages/received messages/sent messages/stored bytes/received bytes/sent
publish/bytes/received publish/bytes/sent publish/messages/received publish/messages/sent publish/messages/dropped
packet/out/count packet/out/bytes retained_messages/count store/messages/count store/messages/bytes subscriptions/count
shared_subscriptions/count heap/current heap/maximum"""
LOADS = "bytes/received bytes/sent connections messages/received messages/sent publish/dropped publish/received publish/sent sockets"


def figures(port, seconds=1):
    """Everything retained below $SYS/broker."""
    command = ["mosquitto_sub", "-p", str(port), "-t", "$SYS/broker/#", "-F", "%r|%t|%p", "-W", str(seconds)]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 10).stdout.splitlines()
    found = (line.split("|") for line in lines)
    return {topic.removeprefix("$SYS/broker/"): value for retained, topic, value in found if retained == "1"}


def test_sys_has_mosquittos_names_and_figures_that_change():
    with brokers.Broker(config="sys_interval 1") as broker:
        names = {name.replace("_messages", " messages") for name in SYS.split()}
        names |= {f"load/{name}/{minutes}min" for name in LOADS.split() for minutes in (1, 5, 15)}
        for _ in range(5):
            publish(broker.port, "-q", "1")
        publish(broker.port, "-r")
        subscriber = subprocess.Popen(["mosquitto_sub", "-p", str(broker.port), "-t", "x", "-t", "$share/g/x"])
        time.sleep(2.5)
        found = figures(broker.port)
        subscriber.terminate()
        subscriber.wait()
        assert names <= set(found), names - set(found)
        words = ("version", "uptime", "reload/health", "store/health", "memory/load_line/step")
        number = {name: float(value) for name, value in found.items() if name not in words}
        assert number["publish/messages/received"] == 6 and number["clients/connected"] == 1
        assert number["subscriptions/count"] == 1 and number["shared_subscriptions/count"] == 1
        assert number["load/sockets/1min"] > 0 and number["load/connections/1min"] > 0
        assert number["retained messages/count"] > len(names)


def test_sys_interval_is_read_again():
    with brokers.Broker(config=f"{STAY}sys_interval 0") as broker:
        assert figures(broker.port) == {}
        broker.config.write_text(broker.config.read_text().replace("sys_interval 0", "sys_interval 1"))
        broker.signal(signal.SIGHUP)
        time.sleep(0.3)
        assert "uptime" in figures(broker.port)


def test_called_mosquitto_it_is_mosquitto(tmp_path):
    link = tmp_path / "mosquitto"
    link.symlink_to(brokers.program())
    port = brokers.free_port()
    process = subprocess.Popen([str(link), "-p", str(port)], stderr=subprocess.DEVNULL)
    try:
        assert listening(port)
        subprocess.run(["mosquitto_pub", "-p", str(port), "-t", "a", "-m", "b"], check=True)
    finally:
        process.terminate()
        assert process.wait(3) == 0


def background(directory, port, more=""):
    """A configuration for the background: where its pid file and its log are is always the same."""
    config = directory / "daemon.conf"
    config.write_text(f"{STAY}pid_file {directory}/pid\nlog_dest file {directory}/log\nlistener {port} 127.0.0.1\n{more}")
    return str(config)


def gone(pid):
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            # Without an init that reaps, what is left is a zombie.
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_it_goes_into_the_background(tmp_path):
    config = background(tmp_path, brokers.free_port())
    for _ in range(5):
        began = run("-c", config, "-d")
        assert (began.returncode, began.stdout, began.stderr) == (0, "", "")
        # At once, without waiting: it serves when the one who called it gets the answer.
        pid = int((tmp_path / "pid").read_text())
        assert os.getsid(pid) == pid and Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1:3] == [b"-c", config.encode()]
        assert {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)} == {"/dev/null"}
        os.kill(pid, signal.SIGTERM)
        assert gone(pid) and not (tmp_path / "pid").exists()
    assert (tmp_path / "log").read_text().count("terminating") == 5


def test_what_hinders_it_in_the_background_is_seen_by_the_caller(tmp_path):
    port = brokers.free_port()
    with brokers.Broker() as other:
        taken = run("-c", str(other.config), "-d")
        assert taken.returncode == 1 and "already in use" in taken.stderr
    for more, expected in (
        (f"pid_file {tmp_path}/missing/pid", "cannot write the pid file"),
        (f"log_dest file {tmp_path}/missing/log", "cannot open the log file"),
        (f"listener {port} 127.0.0.1", "already in use"),
    ):
        failed = run("-c", background(tmp_path, port, more), "-d")
        assert failed.returncode == 1, more
        assert expected in failed.stderr and len(failed.stderr.strip().splitlines()) == 1, failed.stderr
        assert not (tmp_path / "pid").exists(), more
    wrong = run("-c", background(tmp_path, port, "nonsense true"), "-d")
    assert wrong.returncode == 3 and len(wrong.stderr.strip().splitlines()) == 1


def test_the_background_marker_means_nobody_else(tmp_path):
    """Whoever inherits the marker is not taken for the one that it was made for."""
    config = background(tmp_path, brokers.free_port())
    began = run("-c", config, "-d", env={**os.environ, "PLIMSOLL_STARTED_BY": "1"})
    assert (began.returncode, began.stdout) == (0, "")
    pid = int((tmp_path / "pid").read_text())
    os.kill(pid, signal.SIGTERM)
    assert gone(pid)


def test_called_mosquitto_it_is_mosquitto_in_the_background_too(tmp_path):
    link = tmp_path / "mosquitto"
    link.symlink_to(brokers.program())
    config = background(tmp_path, brokers.free_port())
    assert subprocess.run([str(link), "-c", config, "-d"], timeout=10).returncode == 0
    pid = int((tmp_path / "pid").read_text())
    assert Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0] == str(link).encode()
    os.kill(pid, signal.SIGTERM)
    assert gone(pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_its_files_are_those_of_the_user_that_it_becomes():
    """So that they can be opened again at a reload, and root is not made to write elsewhere."""
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        config, files = directory / "c.conf", directory / "files"
        files.mkdir()
        text = f"user nobody\npid_file {files}/pid\nlog_dest file {files}/log\nlistener {brokers.free_port()} 127.0.0.1\n"
        config.write_text(text)
        refused = run("-c", str(config), "-d")
        assert refused.returncode == 1 and "as user nobody: Permission denied" in refused.stderr
        os.chown(files, nobody.pw_uid, nobody.pw_gid)
        assert run("-c", str(config), "-d").returncode == 0
        pid = int((files / "pid").read_text())
        log = files / "log"
        assert {path.stat().st_uid for path in files.iterdir()} == {nobody.pw_uid} and log.stat().st_mode & 0o777 == 0o600
        config.write_text(text + "log_timestamp false\n")
        os.kill(pid, signal.SIGHUP)
        time.sleep(0.3)
        os.kill(pid, signal.SIGTERM)
        assert gone(pid) and not (files / "pid").exists()
        assert "\nplimsoll version" in log.read_text() and "left as it is" not in log.read_text()


def test_the_pid_file_is_there_before_clients_can_connect(tmp_path):
    for _ in range(20):
        port = brokers.free_port()
        process = subprocess.Popen([brokers.program(), "-c", background(tmp_path, port)])
        try:
            with socket.socket() as probe:
                while probe.connect_ex(("127.0.0.1", port)) != 0:
                    pass
            assert int((tmp_path / "pid").read_text()) == process.pid
        finally:
            process.terminate()
            process.wait(5)


def test_a_fleet_loses_nothing():
    with brokers.Broker() as broker:
        fleet = run("fleet", "--sensors", "300", "--every", "1s", "--for", "3s", "--connect", f"127.0.0.1:{broker.port}", "--json")
        assert fleet.returncode == 0, fleet.stdout + fleet.stderr
        report = json.loads(fleet.stdout)
        assert report["ok"] and report["lost"] == report["duplicated"] == 0 and report["received"] == report["published"] > 800
        assert report["commands"]["answered"] > 0


def test_a_fleet_survives_its_own_mishaps():
    with brokers.Broker() as broker:
        fleet = run("fleet", "--sensors", "200", "--every", "10s", "--speed", "20x", "--for", "5s", "--losses", "10", "--reconnects", "10",
                    "--control-away", "40s", "--waves", "1", "--connect", f"mqtt://127.0.0.1:{broker.port}", "--json")
        report = json.loads(fleet.stdout)
        assert fleet.returncode == 0 and report["ok"], report
        assert report["not_taken"] > 0 and report["state"]["asked"] >= 1 and report["images"]["delivered"] > 0, report


def fleet_for_a_minute(broker, *more):
    command = [brokers.program(), "fleet", "--sensors", "50", "--every", "1s", "--connect", f"127.0.0.1:{broker.port}", *more]
    fleet = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if not more:
        assert "50 sensors connected" in fleet.stderr.readline()
    time.sleep(1.5)
    return fleet


def test_an_interrupted_fleet_reports_what_it_did():
    with brokers.Broker() as broker:
        fleet = fleet_for_a_minute(broker)
        fleet.send_signal(signal.SIGINT)
        out, _ = fleet.communicate(timeout=10)
        assert fleet.returncode == 130 and "Interrupted. Of what was published: Everything arrived" in out, out
        fleet = fleet_for_a_minute(broker, "--json")
        fleet.send_signal(signal.SIGTERM)
        report = json.loads(fleet.communicate(timeout=10)[0])
        assert report["ending"] == "interrupted" and report["ok"] and report["published"] >= 50
        assert fleet.returncode == 130


def test_a_fleet_whose_broker_dies_reports_what_it_did():
    with brokers.Broker() as broker:
        fleet = fleet_for_a_minute(broker)
        broker.process.kill()
        out, _ = fleet.communicate(timeout=10)
        assert fleet.returncode == 1 and "published " in out and "The run broke off: " in out, out
        refused = run("fleet", "--sensors", "1", "--connect", f"127.0.0.1:{broker.port}")
        assert refused.returncode == 2 and "Connection refused" in refused.stderr and not refused.stdout
