"""`plimsoll watch --tui` on a terminal that is one: what it shows, keys, other sizes, and that the terminal is given back."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pyte
import pytest

import broker as brokers
from watching import leak_recorded, sleeper, target_table

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own tool")

BRAILLE = re.compile("[\u2801-\u28ff]")


class Terminal:
    """A terminal of some size, and the command that runs on it."""

    def __init__(self, *command, size=(100, 30), **environment):
        self.screen = pyte.Screen(*size)
        self.stream = pyte.ByteStream(self.screen)
        self.master, self.slave = pty.openpty()
        self.raw = b""
        self.resize(*size)
        self.before = termios.tcgetattr(self.slave)
        environment = {**os.environ, "TERM": "xterm-256color", **environment}
        self.process = subprocess.Popen(
            [str(word) for word in command], stdin=self.slave, stdout=self.slave, stderr=self.slave, env=environment,
            preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)),
        )  # fmt: skip

    def resize(self, columns, rows):
        self.screen.resize(rows, columns)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def read(self, seconds=0.1):
        """Takes what is written for some time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0 and select.select([self.master], [], [], left)[0]:
            self.take()

    def take(self):
        """What lies there."""
        piece = os.read(self.master, 1 << 16)
        self.raw += piece
        self.stream.feed(piece)

    def text(self):
        return "\n".join(row.rstrip() for row in self.screen.display)

    def until(self, wanted, seconds=15):
        """Waits until the screen is as it should be; its text then."""
        deadline = time.monotonic() + seconds
        while not wanted(self.text()):
            assert time.monotonic() < deadline, self.text()
            self.read()
        return self.text()

    def ended(self, seconds=10):
        """The exit code, when the command has ended."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "it goes on"
            self.read()
        while select.select([self.master], [], [], 0.1)[0]:
            self.take()
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for end in (self.master, self.slave):
            if end is not None:
                os.close(end)


@pytest.fixture
def watched(tmp_path):
    """Two targets, of which one leaks: the words that watch them."""
    with sleeper() as one, sleeper() as two:
        leak_recorded(tmp_path, "edge-1", one)
        config = tmp_path / "watch.toml"
        config.write_text(f"every = '100ms'\nhistory = '{tmp_path}/history'\n" + target_table("edge-1", one) + target_table("edge-2", two))
        yield [brokers.program(), "watch", "--config", config, "--tui"]


def width_kept(terminal):
    """No row was longer than the terminal: it would have been wrapped into the next one."""
    rows = terminal.screen.display
    return rows[0].startswith(" plimsoll watch") and rows[-1].startswith(" ↑ ↓")


def test_it_shows_targets_and_a_graph_in_any_size_and_gives_the_terminal_back(watched):
    with Terminal(*watched) as terminal:
        text = terminal.until(lambda text: BRAILLE.search(text) and "leaking at" in text)
        assert "▸ edge-1" in text and "  edge-2" in text and "── resident" in text and "last 10 min" in text, text
        assert width_kept(terminal), text
        assert not termios.tcgetattr(terminal.slave)[3] & termios.ECHO, "keys are not shown"
        terminal.type("\x1b[B")
        terminal.until(lambda text: "▸ edge-2" in text)
        terminal.type("k")
        terminal.until(lambda text: "▸ edge-1" in text)
        # Both at once, as of a key that is held.
        terminal.type("\x1b[C\x1b[C")
        terminal.until(lambda text: "last 3 days" in text)
        assert len(BRAILLE.findall(terminal.text())) > 80, "what was seen before this watch began is there"
        for size in ((44, 14), (20, 5), (160, 50)):
            terminal.resize(*size)
            terminal.until(lambda _: width_kept(terminal))
        terminal.until(lambda text: BRAILLE.search(text) and "leaking at" in text)
        terminal.type("q")
        assert terminal.ended() == 0
        assert termios.tcgetattr(terminal.slave) == terminal.before, "as it was"
        assert terminal.raw.rstrip().endswith(b"\x1b[?25h\x1b[?1049l"), "the cursor and the shell's screen are back"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_and_give_the_terminal_back(watched, how):
    with Terminal(*watched) as terminal:
        terminal.until(lambda text: "edge-2" in text)
        if how == signal.SIGINT:
            terminal.type("\x03")
        else:
            terminal.process.send_signal(how)
        assert terminal.ended() == 0
        assert termios.tcgetattr(terminal.slave) == terminal.before
        assert b"\x1b[?1049l" in terminal.raw


def test_a_terminal_that_is_closed_ends_it(watched):
    with Terminal(*watched) as terminal:
        terminal.until(lambda text: "edge-2" in text)
        os.close(terminal.slave)
        os.close(terminal.master)
        terminal.master = terminal.slave = None
        assert terminal.process.wait(10) == 0


def test_what_is_no_terminal_is_refused(watched):
    with Terminal(*watched, TERM="dumb") as terminal:
        assert terminal.ended() == 2
        assert "Error: --tui needs a terminal that can move its cursor" in terminal.text(), terminal.text()
        assert b"\x1b" not in terminal.raw
    done = subprocess.run(watched, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and "--tui needs a terminal" in done.stderr
