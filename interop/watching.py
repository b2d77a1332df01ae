"""`plimsoll watch` as a process, and what it has recorded, stretched so that seconds stand for hours.

A judgement takes hours, a test has seconds. So a target is looked at ten times a second while it does quickly what
others do slowly, and then judged by `watch replay` with each look taken for four minutes: its times are multiplied by
2400, so that the test's 60 seconds are 40 hours. What is shown so is that samples, accounts and judgement fit together on a real process, not how long a judgement takes.
"""

import csv
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time
import zlib
from contextlib import contextmanager
from pathlib import Path

import broker as brokers

LOOK_SECONDS = 0.1
MINUTE = 60
# What `leak_recorded` leaks.
LEAK_PER_HOUR = 2 << 20
MINUTES_PER_LOOK = 4

# Columns of a series, and the names of JSON lines.
COLUMNS = {
    "start": "start_s",
    "rss_b": "rss_bytes",
    "anon_b": "anon_bytes",
    "file_b": "file_bytes",
    "acc_b": "account_bytes",
    "heap_b": "heap_used_bytes",
    "heapc_b": "heap_committed_bytes",
    "direct_b": "direct_bytes",
    "heap_limit_b": "heap_limit_bytes",
    "direct_limit_b": "direct_limit_bytes",
    "retained": "retained",
    "conns": "connections",
    "sess": "sessions",
    "subs": "subscriptions",
    "queued": "queued",
    "pub_total": "published_total",
}

# The form of a history, and the figures that it ends with.
HISTORY_VERSION = 2
HISTORY_FIGURES = [
    *("account", "heap_used", "heap_committed", "direct", "retained", "connections", "sessions", "subscriptions"),
    *("queued", "published_total", "connected_total", "limit", "heap_limit", "direct_limit"),
]


class Watch:
    """A `plimsoll watch` that writes JSON lines."""

    def __init__(self, directory, *flags):
        self.lines_path = Path(directory) / "watch.jsonl"
        self.lines_path.unlink(missing_ok=True)
        command = [brokers.program("plimsoll"), "watch", *map(str, flags), "--json-lines", self.lines_path]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.output = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def end(self, how=signal.SIGTERM):
        """Ends it; its exit code. `output` is what it has said."""
        self.process.send_signal(how)
        self.output, _ = self.process.communicate(timeout=20)
        return self.process.returncode

    def lines(self):
        """What it has written: whole lines."""
        return [json.loads(line) for line in self.lines_path.read_text().rpartition("\n")[0].splitlines()]

    def looks(self, target):
        """Looks at a target while it was there."""
        return [line for line in self.lines() if "rss_bytes" in line and line["target"] == target]

    def await_line(self, wanted, seconds=60):
        """Waits for a line that `wanted` takes; the last one then."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            text = self.lines_path.read_text() if self.lines_path.exists() else ""
            for line in map(json.loads, text.splitlines()[:-1]):
                if wanted(line):
                    return line
            time.sleep(0.1)
        raise AssertionError(f"no such line in {seconds} s: {text[-2000:]}")

    def events(self, target):
        """The names of what has happened to it."""
        return [line["event"] for line in self.lines() if "event" in line and line["target"] == target]


def stretched(looks, path, minutes=MINUTES_PER_LOOK):
    """Writes the looks as a series in which each stands for some minutes. Answers how many hours that are."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["t", *COLUMNS])
        begins = {}
        for number, look in enumerate(looks):
            t = number * minutes * 60
            begins.setdefault(look["start_s"], t)
            row = [begins[look["start_s"]] if name == "start" else look.get(key, "") for name, key in COLUMNS.items()]
            writer.writerow([t, *row])
    return len(looks) * minutes / 60


def replay(path, *flags):
    """The last line of `plimsoll watch replay --json`."""
    command = [brokers.program("plimsoll"), "watch", "replay", "--json", *flags, path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def recorded(directory, target, pid, rss, hours):
    """Writes a history (docs/formats.md) of the last hours of a process, as a `watch` with `--history` would have left it.

    `rss` gives the resident set for each minute.
    """
    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    identity = struct.pack("<IQ", pid, int(stat[19]))
    end = time.time() // MINUTE * MINUTE
    start = end - hours * 3600
    missing = [float("nan")] * (8 + len(HISTORY_FIGURES))
    records = []
    for minute in range(1, hours * 60):
        numbers = [start + minute * MINUTE, start, rss(minute), *missing]
        body = struct.pack(f"<{len(numbers)}d", *numbers) + identity
        records.append(body + struct.pack("<I", zlib.crc32(body)))
    header = b"PLIMHIST" + struct.pack("<II", HISTORY_VERSION, len(records[0]))
    Path(directory).mkdir(exist_ok=True)
    (Path(directory) / f"{target}.history").write_bytes(header + b"".join(records))


@contextmanager
def sleeper():
    """A process that does nothing."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def leak_recorded(directory, target, child):
    """A history of three days in which this process has leaked 2 MiB an hour."""
    chance = random.Random(7)
    recorded(directory / "history", target, child.pid, lambda minute: (40 << 20) + minute / 60 * LEAK_PER_HOUR + chance.gauss(0, 1e5), hours=72)


def target_table(name, child):
    return f"[[target]]\nname = '{name}'\npid = {child.pid}\n"
