"""`plimsoll watch` that is restarted or told to read its configuration again: what was known stays known."""

import json
import random
import signal
import struct
import subprocess
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import broker as brokers
from watching import Watch

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own tool")

DAY = 86_400


class Target:
    """A process that does nothing."""

    def __enter__(self):
        self.process = subprocess.Popen(["sleep", "120"])
        self.pid = self.process.pid
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def start_ticks(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return int(fields[19])


class Listener:
    """Takes what is posted, by path."""

    def __init__(self):
        self.posted = posted = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                posted.append((self.path, json.loads(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def at(self, path):
        return [body for where, body in self.posted if where == path]


def record(path, pid, start_ticks, days, bytes_per_hour):
    """A history of a process that grows beside an account that does not (docs/formats.md)."""
    nan, rng, now = float("nan"), random.Random(4), time.time()
    with path.open("wb") as file:
        file.write(b"PLIMHIST" + struct.pack("<II", 2, 216))
        for minute in range(int(days * 1440)):
            t = now - days * DAY + minute * 60
            grown = minute / 60 * bytes_per_hour + rng.gauss(0, 20_000)
            own = [t, now - (days + 1) * DAY, 50e6 + grown, 40e6 + grown, nan, 0.0, nan, 1.0, 3.0, minute / 10, 0.0]
            figures = [20e6, nan, nan, nan, *([nan] * 7), 4e9, nan, nan]
            body = struct.pack("<25dIQ", *own, *figures, pid, start_ticks)
            file.write(body + struct.pack("<I", zlib.crc32(body)))


def wait_for(what, seconds=30):
    for _ in range(int(seconds * 10)):
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come")


def test_a_leak_that_is_known_from_before_is_told_again(tmp_path):
    history, listener = tmp_path / "history", Listener()
    history.mkdir()
    with Target() as target:
        record(history / "it.history", target.pid, target.start_ticks(), 4, 500_000)
        flags = ["--pid", target.pid, "--name", "it", "--every", "100ms", "--history", history]
        with Watch(tmp_path, *flags, "--webhook", f"{listener.address}/hook", "--alertmanager", listener.address) as watch:
            hooks = wait_for(lambda: listener.at("/hook"))
            alerts = wait_for(lambda: listener.at("/api/v2/alerts"))
            time.sleep(0.5)
            assert watch.end() == 0
    assert [hook["verdict"] for hook in hooks] == ["leaking"], "once"
    assert hooks[0]["event"] == "judged" and abs(hooks[0]["rate_bytes_per_hour"] / 500_000 - 1) < 0.2
    assert hooks[0]["since_s"] < time.time() - 3 * DAY
    alert = alerts[0][0]
    assert alert["labels"] == {"alertname": "PlimsollWatchLeak", "target": "it", "severity": "critical"}
    since = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(hooks[0]["since_s"]))
    assert alert["annotations"]["since"].startswith(since)
    assert watch.events("it")[0] == "appeared", "it is looked at before all that was recorded is judged"


def test_check_waits_for_what_was_recorded(tmp_path):
    with Target() as target:
        (tmp_path / "it.history").touch()
        record(tmp_path / "it.history", target.pid, target.start_ticks(), 4, 500_000)
        flags = ["--pid", target.pid, "--name", "it", "--history", tmp_path, "--for", "100ms", "--check"]
        command = [brokers.program("plimsoll"), "watch", *map(str, flags)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "leaking at" in done.stdout, done


def test_a_history_of_another_process_with_that_number_is_not_gone_on_with(tmp_path):
    with Target() as target:
        record(tmp_path / f"pid-{target.pid}.history", target.pid, target.start_ticks() - 1, 4, 500_000)
        flags = ["--pid", target.pid, "--history", tmp_path, "--for", "100ms", "--check"]
        command = [brokers.program("plimsoll"), "watch", *map(str, flags)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "restarted" not in done.stdout, done
    assert f"the history of pid-{target.pid} is of another process" in done.stderr


def test_a_configuration_that_cannot_be_taken_over_changes_nothing(tmp_path):
    history, config = tmp_path / "history", tmp_path / "watch.toml"
    history.mkdir()
    (history / "three.history").write_bytes(b"this is somebody else's file")

    def write(*targets):
        tables = [f"[[target]]\nname = '{name}'\npid = {target.pid}\n{more}\n" for name, more in targets]
        config.write_text(f"every = '100ms'\nhistory = '{history}'\n" + "".join(tables))

    def reload(watch):
        before = len(watch.looks("one"))
        watch.process.send_signal(signal.SIGHUP)
        wait_for(lambda: len(watch.looks("one")) > before + 5)

    with Target() as target:
        write(("one", ""), ("two", ""))
        with Watch(tmp_path, "--config", config) as watch:
            wait_for(lambda: watch.lines_path.exists() and watch.looks("two"))
            # The first new one could be opened, and the second is changed; the third cannot.
            write(("one", ""), ("four", ""), ("two", "settle = '2h'"), ("three", ""))
            reload(watch)
            assert not watch.looks("four") and watch.events("two") == ["appeared"]
            (history / "three.history").unlink()
            reload(watch)
            wait_for(lambda: watch.looks("four") and watch.looks("three"))
            assert watch.events("one") == ["appeared"] and watch.events("two") == ["appeared", "appeared"]
            assert watch.end() == 0
        assert "is not a history of this version" in watch.output and "All stays as it was." in watch.output
        assert watch.output.count("The configuration was read again.") == 1
        # All have histories that another watch can go on with.
        names = sorted(path.name for path in history.iterdir())
        assert names == ["four.history", "one.history", "three.history", "two.history"]


def test_without_a_configuration_a_hangup_ends_it_unless_it_is_ignored(tmp_path):
    with Target() as target:
        flags = ["--pid", target.pid, "--name", "it", "--every", "100ms"]
        with Watch(tmp_path, *flags) as watch:
            wait_for(lambda: watch.lines_path.exists() and watch.looks("it"))
            assert watch.end(signal.SIGHUP) == 0
        command = ["nohup", brokers.program("plimsoll"), "watch", *map(str, flags), "--log-every", "100ms"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            process.stdout.readline()
            process.send_signal(signal.SIGHUP)
            assert all(process.stdout.readline() for _ in range(5))
        finally:
            process.terminate()
            assert process.wait(20) == 0
