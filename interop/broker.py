"""Starts and stops the broker under test: plimsoll, or Debian's mosquitto to compare with.

The tests name no broker. `INTEROP_BROKER` (`plimsoll` by default, or `mosquitto`) chooses it,
`PLIMSOLL` and `MOSQUITTO` say where its program is, `INTEROP_PORTS` which ports may be used.
"""

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 10
STOP_SECONDS = 10


def name():
    """Which broker is under test."""
    return os.environ.get("INTEROP_BROKER", "plimsoll")


def program(broker=None):
    """Path of the broker's program."""
    if (broker or name()) == "mosquitto":
        return os.environ.get("MOSQUITTO") or shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return os.environ.get("PLIMSOLL", str(target / "release" / "plimsoll"))


def _ports():
    """Each of the processes that run tests at once (pytest-xdist) has a part of them."""
    first, last = map(int, os.environ.get("INTEROP_PORTS", "23000-23899").split("-"))
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    part = (last + 1 - first) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return itertools.cycle(range(first + process * part, first + (process + 1) * part))


_next_port = _ports()


def free_port():
    """A port of our range on which nobody listens."""
    for _ in range(200):
        port = next(_next_port)
        with contextlib.closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise RuntimeError("no free port in INTEROP_PORTS")


def logged(broker, text, seconds=3):
    """Whether the log has this text, now or soon."""
    deadline = time.monotonic() + seconds
    while text not in broker.log_text():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Broker:
    """A running broker with a configuration, a port and a directory of its own."""

    def __init__(self, config="", broker=None, listener=""):
        """`config` holds global directives, `listener` those of the one listener."""
        self.name = broker or name()
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"interop-{self.name}-"))
        self.config = self.directory / "broker.conf"
        self.log = self.directory / "broker.log"
        user = "user root\n" if os.geteuid() == 0 and self.name == "mosquitto" else ""
        self.config.write_text(
            f"{user}{config}\nlistener {self.port} 127.0.0.1\nallow_anonymous true\n{listener}\n"
        )
        self.process = None

    def start(self):
        """Starts it and returns when it takes connections."""
        self.spawn()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"broker ended with {self.process.returncode}:\n{self.log_text()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise RuntimeError("broker does not listen")

    def spawn(self):
        """Starts its process."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [program(self.name), "-c", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )

    def alive(self):
        """Whether the process still runs."""
        return self.process is not None and self.process.poll() is None

    def log_text(self):
        """What it wrote to stdout and stderr."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def signal(self, number):
        """Sends it a signal."""
        self.process.send_signal(number)

    def stop(self):
        """Ends it as an operator does (SIGTERM) and returns its exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode

    def kill(self):
        """Ends it as a crash does (SIGKILL)."""
        self.process.kill()
        self.process.wait()

    def remove(self):
        """Removes its directory, after `stop`."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        self.remove()
