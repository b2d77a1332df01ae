"""The process as an operator meets it: flags, signals, exit codes, files."""

import os
import signal
import socket
import subprocess
import time

import pytest

import broker as brokers

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own command line")


def run(*arguments, **options):
    return subprocess.run([brokers.program(), *arguments], capture_output=True, text=True, timeout=10, **options)


def listening(port):
    deadline = time.monotonic() + 5
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
    broker = brokers.Broker(config=f"pid_file {tmp_path}/pid").start()
    assert int((tmp_path / "pid").read_text()) == broker.process.pid
    broker.signal(number)
    assert broker.process.wait(3) == 0
    broker.remove()


def test_signals_that_do_not_end_it():
    with brokers.Broker(config="max_queued_messages 5") as broker:
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGRTMIN, signal.SIGHUP):
            broker.signal(number)
        time.sleep(0.3)
        assert broker.alive()
        assert "Memory: " in broker.log_text()
        broker.config.write_text(broker.config.read_text() + "nonsense\n")
        broker.signal(signal.SIGHUP)
        time.sleep(0.3)
        assert broker.alive() and "left as it is" in broker.log_text()


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


def test_it_goes_into_the_background(tmp_path):
    port = brokers.free_port()
    config = tmp_path / "daemon.conf"
    user = "user root\n" if os.geteuid() == 0 else ""
    config.write_text(f"{user}pid_file {tmp_path}/pid\nlog_dest file {tmp_path}/log\nlistener {port} 127.0.0.1\n")
    assert run("-c", str(config), "-d").returncode == 0
    assert listening(port)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    time.sleep(0.5)
    assert "terminating" in (tmp_path / "log").read_text()


def test_a_fleet_loses_nothing():
    with brokers.Broker() as broker:
        fleet = run("fleet", "--sensors", "300", "--every", "1s", "--for", "3s", "--connect", f"127.0.0.1:{broker.port}", "--json")
        assert fleet.returncode == 0, fleet.stdout + fleet.stderr
        assert '"lost":0,"duplicated":0' in fleet.stdout
