"""Disks that are full, read-only, stuck or damaged: the broker goes on, says so, and loses nothing else."""

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

import broker as brokers
from dialog import Dialog
from durable import (
    TWENTY,
    ENDINGS,
    acknowledges,
    answer,
    data,
    durable,
    figure,
    logged,
    persistent,
    publish,
    publish_twenty,
    restart,
    retained,
    until,
)
from stock import Client
from test_process import run

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own promise")


def mount(kind, where, *options):
    done = subprocess.run(["mount", "-t", kind, *options, str(where)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")


def unmount(where):
    subprocess.run(["umount", str(where)], check=False)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 100 MiB: two segments of the journal, and room to merge runs."""
    mount("tmpfs", tmp_path, "-o", "size=100m", "tmpfs")
    yield tmp_path
    unmount(tmp_path)


def fill(directory, left=0):
    """Leaves so many bytes free, with a file that can be removed again."""
    filler = directory / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)
    os.truncate(filler, filler.stat().st_size - min(left, filler.stat().st_size))
    return filler


class Fat:
    """Retained messages of 64 KiB, published until the store fails: those that were acknowledged."""

    def __init__(self, broker):
        self.broker, self.acknowledged, self.messages = broker, {}, {}
        with Client(broker.port) as client:
            for number in range(2000):
                topic, payload = f"fat/{number}", f"{number} ".ljust(65_536, "x")
                self.messages[topic] = payload
                info = client.publish(topic, payload, 1, retain=True, wait=False)
                until(lambda: info.is_published() or "Unable to store in " in broker.log_text(), 15)
                if not info.is_published():
                    # It was taken before the failure: no acknowledgement. It may be there later, or not.
                    return
                self.acknowledged[topic] = payload
        raise AssertionError("the disk is never full")

    def check(self):
        """Everything that was acknowledged is there."""
        found = {}
        with Client(self.broker.port) as client:
            client.paho.on_message = lambda c, u, message: found.update({message.topic: message.payload.decode()})
            client.subscribe("fat/#")
            with contextlib.suppress(AssertionError):
                until(lambda: found.keys() >= self.acknowledged.keys())
        missing = [topic for topic in self.acknowledged if topic not in found]
        assert not missing and found.items() <= self.messages.items(), f"acknowledged and not there: {missing}"


def unhealthy(broker, why):
    """Waits until log and $SYS name the reason."""
    logged(broker, "Unable to store in ")
    assert why in broker.log_text()
    until(lambda: why in (figure(broker, "store/health") or ""))


@pytest.mark.parametrize("left", [0, 3_000_000])
@pytest.mark.parametrize("ending", [None, "kill", "stop"], ids=["goes on", "killed while full", "stopped while full"])
def test_a_full_disk(small_disk, ending, left):
    with durable(f"persistence_location {small_disk}/data") as broker:
        with persistent(broker, "s", 4) as subscriber:
            subscriber.subscribe("t", 1)
        publish_twenty(broker.port)
        filler, fat = fill(small_disk, left), Fat(broker)
        print(f"\n{len(fat.acknowledged)} messages of 64 KiB acknowledged before the disk was full")
        unhealthy(broker, "No space left on device")
        assert broker.log_text().count("No space left on device") < 5, "the log is not flooded"
        assert answer(broker.port) == 0x97
        Dialog(broker.port, 5, {}).play("> 10 { 'MQTT' 05 02 0000 {} '' }\n< CONNACK 00\n> 35 { 'again' 0001 {} \"x\" }\n< PUBREC 97")
        with Client(broker.port) as client:
            client.publish("nobody", "x", 1)
            assert client.subscribe("clean") == [0], "what need not be stored works"
        with persistent(broker, "new") as refused:
            assert refused.reason.value == 0x97, "a session that cannot be kept"
        with Client(broker.port, version=4) as old:
            waiting = old.publish("t", "old", 1, wait=False)
            time.sleep(1)
            assert not waiting.is_published() and broker.alive()
            fat.check()
            if ending:
                restart(broker, ending)
                assert retained(broker.port, "twenty/#", 20) == TWENTY
                fat.check()
            filler.unlink()
            acknowledges(broker)
            if not ending:
                waiting.wait_for_publish(10)
                logged(broker, "Storing works again.")
                until(lambda: figure(broker, "store/health") == "ok")
        if not ending:
            with persistent(broker, "s", 4) as subscriber:
                assert subscriber.payloads(1) == ["old"]
        publish(broker.port, "after", "x", "-r")
        restart(broker, "kill")
        fat.check()
        assert retained(broker.port, "twenty/#", 20) == TWENTY and retained(broker.port, "after", 1) == {"after": "x"}


@pytest.fixture
def own_disk(tmp_path):
    """An ext4 file system in a file: (image, where it is mounted)."""
    image, where = tmp_path / "image", tmp_path / "disk"
    where.mkdir()
    with image.open("wb") as file:
        file.truncate(96 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    mount("ext4", where, "-o", "loop", str(image))
    yield image, where
    unmount(where)


def test_a_disk_that_the_kernel_made_read_only(own_disk):
    """As after an I/O error (`remount,abort`). It cannot be writable again while it is mounted."""
    image, where = own_disk
    with durable(f"persistence_location {where}/data") as broker:
        publish_twenty(broker.port)
        aborted = subprocess.run(["mount", "-o", "remount,abort", str(where)], capture_output=True, text=True)
        if aborted.returncode != 0 and " ro," not in mounted(where):
            pytest.skip(f"remount,abort: {aborted.stderr.strip()}")
        with Client(broker.port) as client:
            waiting = client.publish("refused", "x", 1, retain=True, wait=False)
            logged(broker, "Unable to store in ")
            assert not waiting.is_published()
        assert answer(broker.port) == 0x97
        unhealthy(broker, "os error")
        assert retained(broker.port, "twenty/#", 20) == TWENTY
        broker.kill()
        unmount(where)
        subprocess.run(["e2fsck", "-fp", str(image)], capture_output=True)
        mount("ext4", where, "-o", "loop", str(image))
        broker.start()
        assert retained(broker.port, "twenty/#", 20) == TWENTY
        acknowledges(broker)
        broker.kill()


def mounted(where):
    """Its line of /proc/mounts."""
    return next(line for line in Path("/proc/mounts").read_text().splitlines() if line.split()[1] == str(where))


def test_a_directory_on_a_read_only_disk_is_one_clear_line(small_disk):
    """Without an open file a disk can be made read-only: then a start says why it fails."""
    with durable(f"persistence_location {small_disk}/data") as broker:
        publish_twenty(broker.port)
        broker.kill()
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        broker.spawn()
        assert broker.process.wait(10) == 1 and "Read-only file system" in broker.log_text().splitlines()[-1]
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        broker.start()
        assert retained(broker.port, "twenty/#", 20) == TWENTY
        acknowledges(broker)
        broker.kill()


@pytest.fixture
def frozen(own_disk):
    """`frozen(True)` stops all writing to the disk, as a stuck controller does; `frozen(False)` lets go."""
    _, where = own_disk

    def freeze(on):
        subprocess.run(["fsfreeze", "-f" if on else "-u", str(where)], capture_output=True, check=on)

    yield where, freeze
    freeze(False)


def test_a_disk_that_hangs_holds_acknowledgements_back_and_nothing_else(frozen):
    where, freeze = frozen
    with durable(f"persistence_location {where}/data") as broker:
        with Client(broker.port) as subscriber, Client(broker.port) as publisher:
            subscriber.subscribe("t", 1)
            publish_twenty(broker.port)
            freeze(True)
            waiting = publisher.publish("t", "x", 1, retain=True, wait=False)
            assert subscriber.payloads(1) == ["x"], "delivery need not wait"
            publisher.publish("t", "y", 0)
            assert subscriber.payloads(1) == ["y"]
            time.sleep(0.5)
            assert not waiting.is_published()
            freeze(False)
            waiting.wait_for_publish(10)
            assert waiting.is_published()
        restart(broker, "kill")
        assert retained(broker.port, "t", 1) == {"t": "x"}
        broker.kill()


# Damage.

MANY = {f"many/{number:03}": f"{number:03} ".ljust(300, "d") for number in range(200)}


@pytest.fixture
def many():
    """A broker with 200 retained messages in a journal, each with a batch of its own."""
    with durable() as broker:
        with Client(broker.port) as client:
            for topic, payload in MANY.items():
                client.publish(topic, payload, 1, retain=True)
        yield broker


def lost(broker):
    """How many of the many are missing; what is there is right."""
    found = retained(broker.port, "many/#", 0, 1)
    assert found.items() <= MANY.items()
    return len(MANY) - len(found)


def flip(path, offset, count=1):
    """Flips bytes of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        old = file.read(count)
        file.seek(offset)
        file.write(bytes(byte ^ 0xFF for byte in old))


def find(paths, text):
    """The file that has a text, and where."""
    for path in paths:
        at = path.read_bytes().find(text.encode())
        if at >= 0:
            return path, at
    raise AssertionError(f"{text!r} is in none of {paths}")


def damaged(broker, path, at_most):
    """It starts, names the damaged file in its log, keeps the bytes, and serves the rest."""
    assert run("check", str(path.parent)).returncode == 1
    broker.start()
    gone = lost(broker)
    print(f"\n{gone} of {len(MANY)} lost")
    assert gone <= at_most, f"{gone} lost"
    lines = [line for line in broker.log_text().splitlines() if "damaged" in line]
    assert any(path.name in line and ", kept in damaged-" in line for line in lines), broker.log_text()
    assert data(broker, "damaged-*")
    acknowledges(broker)
    restart(broker, "kill")
    assert lost(broker) == gone and retained(broker.port, "again", 1) == {"again": "x"}
    return gone


@pytest.mark.parametrize("before", [0, 64], ids=["payload", "frame header"])
def test_flipped_bytes_in_the_journal(many, before):
    many.kill()
    path, at = find(data(many, "journal-*"), MANY["many/100"])
    flip(path, at - before, 5)
    damaged(many, path, 1)


def test_a_whole_page_of_the_journal_is_gone(many):
    many.kill()
    path, at = find(data(many, "journal-*"), MANY["many/100"])
    flip(path, at // 4096 * 4096, 4096)
    damaged(many, path, 20)


def test_flipped_bytes_in_a_run(many):
    many.stop()
    path, at = find(data(many, "run-*"), MANY["many/100"])
    flip(path, at, 5)
    damaged(many, path, 1)


def test_a_damaged_index_of_a_run(many):
    many.stop()
    path = data(many, "run-*")[-1]
    flip(path, path.stat().st_size - 80, 80)
    many.start()
    assert lost(many) == 0 and path.name in many.log_text()


@pytest.mark.parametrize("seed", range(5))
def test_a_journal_that_was_cut_off(many, seed):
    """Whatever is left of the last segment, it starts, and says what is missing."""
    many.kill()
    path, end = find(data(many, "journal-*"), MANY["many/199"])
    size = random.Random(seed).randrange(end)
    os.truncate(path, size)
    many.start()
    print(f"\ncut at {size} of {end}: {lost(many)} of {len(MANY)} lost")
    assert "are cut" in many.log_text() or "are damaged" in many.log_text(), many.log_text()
    acknowledges(many)
    restart(many, "kill")
    assert retained(many.port, "again", 1) == {"again": "x"}


@pytest.mark.parametrize("wrong", ["gone", "damaged", "empty"])
@ENDINGS
def test_a_manifest_that_is_wrong(many, how, wrong):
    many.signal(signal.SIGUSR1)
    logged(many, "Saved: ")
    publish(many.port, "many/000", MANY["many/000"], "-r")
    getattr(many, how)()
    manifest = data(many, "manifest")[0]
    if wrong == "gone":
        manifest.unlink()
    elif wrong == "damaged":
        flip(manifest, 20, 30)
    else:
        os.truncate(manifest, 0)
    many.start()
    assert lost(many) == 0
    if wrong == "damaged":
        assert "manifest: " in many.log_text()
    restart(many, "kill")
    assert lost(many) == 0


def test_what_a_damaged_session_leaves_behind_goes_to_nobody():
    """Its subscriptions and messages have lost their owner: who connects next must not get them."""
    with durable() as broker:
        with persistent(broker, "the-damaged-one") as client:
            client.subscribe("secret", 1)
        publish(broker.port, "secret", "old")
        broker.stop()
        path, at = find(data(broker, "run-*"), "the-damaged-one")
        flip(path, at, 3)
        broker.start()
        logged(broker, "belong to a session that is not there")
        persistent(broker, "another").end()
        restart(broker, "stop")
        with persistent(broker, "another") as another, persistent(broker, "the-damaged-one") as client:
            assert another.flags.session_present and not client.flags.session_present
            client.subscribe("secret", 1)
            publish(broker.port, "secret", "new")
            assert client.payloads(1) == ["new"] and another.silent() and client.silent()


def test_what_refers_to_a_damaged_message_gets_no_other():
    """A message that many have queued is stored once: without it they get what is left, and nothing wrong."""
    with durable() as broker:
        for name in "abc":
            with persistent(broker, name) as client:
                client.subscribe("t", 1)
        for payload in ("first", "the-damaged-one".ljust(2000)):
            publish(broker.port, "t", payload)
        broker.stop()
        path, at = find(data(broker, "run-*"), "the-damaged-one")
        flip(path, at, 3)
        broker.start()
        publish(broker.port, "t", "third".ljust(2000))
        for how in ("stop", "kill"):
            restart(broker, how)
        for name in "abc":
            with persistent(broker, name) as client:
                assert [payload.strip() for payload in client.payloads(2)] == ["first", "third"] and client.silent()
