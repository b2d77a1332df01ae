"""The report of `plimsoll watch` in headless Chromium: a file that asks nobody for anything, light and dark, narrow and on paper."""

import base64
import os
import subprocess
from pathlib import Path

import pytest

import broker as brokers
from chromium import PROGRAM, Page
from services import until
from watching import Watch, leak_recorded, sleeper

pytestmark = [pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own report"), pytest.mark.xdist_group("page")]

EXAMPLES = brokers.ROOT / "docs" / "examples"
PHONE = 360
BACKGROUND = "getComputedStyle(document.body).backgroundColor"
SIDEWAYS = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def page():
    assert PROGRAM, "chromium is not installed: .ci/run does that"
    with Page() as page:
        yield page


def picture(page, name):
    """Kept where INTEROP_PICTURES says, to be looked at."""
    if directory := os.environ.get("INTEROP_PICTURES"):
        page.picture(Path(directory) / f"{name}.png")


@pytest.mark.parametrize("series", ["mosquitto", "jvm", "growing"])
def test_a_report_is_whole_in_one_file(page, tmp_path, series):
    path = tmp_path / f"{series}.html"
    command = [brokers.program(), "watch", "report", EXAMPLES / f"watch-{series}.csv.gz", "-o", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    asked = len(page.requests())
    page.shape(1280)
    page.open(path.as_uri())
    page.until("document.readyState === 'complete' && document.querySelectorAll('svg').length >= 2")
    assert set(page.requests()[asked:]) == {path.as_uri()}, "it asks for nothing else"
    assert page.problems() == []
    verdict = "Growing with its state" if series == "growing" else "Leaking at"
    assert verdict in page.run("document.body.innerText"), "the judgement is said"
    assert page.run("document.documentElement.lang") and page.run("document.title")
    light, ink = page.run(BACKGROUND), page.run("getComputedStyle(document.body).color")
    picture(page, f"{series}-light")
    page.shape(1280, dark=True)
    assert page.run(BACKGROUND) != light
    picture(page, f"{series}-dark")
    page.shape(PHONE)
    assert not page.run(SIDEWAYS), "nothing lies beside a phone's screen"
    picture(page, f"{series}-phone")
    page.shape(1280, dark=True)
    page.call("Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert page.run(BACKGROUND) == "rgb(255, 255, 255)" and page.run("getComputedStyle(document.body).color") == ink, "paper is never dark"
    paper = base64.b64decode(page.call("Page.printToPDF")["data"])
    page.call("Emulation.setEmulatedMedia", media="")
    assert paper.startswith(b"%PDF")
    if directory := os.environ.get("INTEROP_PICTURES"):
        (Path(directory) / f"{series}.pdf").write_bytes(paper)


def test_the_page_of_a_running_watch_is_such_a_report(page, tmp_path):
    port = brokers.free_port()
    with sleeper() as child:
        leak_recorded(tmp_path, "edge-1", child)
        flags = ["--pid", child.pid, "--name", "edge-1", "--every", "200ms", "--history", tmp_path / "history", "--listen", f"127.0.0.1:{port}"]
        with Watch(tmp_path, *flags) as watch:
            watch.await_line(lambda line: line.get("verdict") == "leaking")
            asked = len(page.requests())
            page.shape(1280)
            page.open(f"http://127.0.0.1:{port}/")
            page.until("document.querySelectorAll('svg').length >= 1")
            assert "Leaking at" in page.run("document.body.innerText") and "edge-1" in page.run("document.body.innerText")
            assert page.problems() == []
            until(lambda: page.run("document.readyState") == "complete")
            assert {url.split("/", 3)[2] for url in page.requests()[asked:]} == {f"127.0.0.1:{port}"}
            picture(page, "live")
            assert watch.end() == 0, watch.output
