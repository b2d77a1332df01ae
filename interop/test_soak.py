"""`plimsoll soak`: verdicts about brokers that leak and that do not, and everything that it writes."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

import broker as brokers

pytestmark = [pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own command line"), pytest.mark.xdist_group("measures")]

FIXTURES = Path(__file__).parent / "fixtures"

# Small, so that a cycle takes a second or two. Latency is not what is tested here.
SCENARIO = """
[load]
retained = 2800
publishers = 8
idle_connections = 100
steady_per_second = 1000
offline_sessions = 5
offline_messages = 50
[cycle]
cool_down_s = 1.0
[limits]
p99_publish_ms = 60000.0
"""


def config(tmp_path, port, more=""):
    path = tmp_path / f"{port}.conf"
    path.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n{more}")
    return path


def command(tmp_path, *more, broker=None, seconds=20, scenario=SCENARIO):
    """A soak's command line; `broker` is a command in which {port} and {config} stand for what it needs."""
    port = brokers.free_port()
    path = tmp_path / "scenario.toml"
    path.write_text(scenario)
    broker = broker or f"{brokers.program()} -c {{config}}"
    return [brokers.program(), "soak", "--broker-cmd", broker.format(port=port, config=config(tmp_path, port)),
            "--connect", f"mqtt://127.0.0.1:{port}", "--duration", f"{seconds}s", "--scenario", str(path), *more]


def soak(*arguments, **options):
    return subprocess.run(command(*arguments, **options), capture_output=True, text=True, timeout=180)


def test_a_sound_broker_passes_and_everything_is_written(tmp_path):
    paths = {name: tmp_path / f"soak.{name}" for name in ("json", "junit", "report")}
    done = soak(tmp_path, *(part for name, path in paths.items() for part in (f"--{name}", str(path))), seconds=25)
    assert done.returncode == 0, done.stdout + done.stderr
    # 2,800 messages are too few to tell how many would fit into 4 GB.
    assert done.stdout.rstrip().splitlines()[-1].startswith("PASS") and "\x1b" not in done.stderr
    outcome = json.loads(paths["json"].read_text())
    assert outcome["verdict"] == "pass" and outcome["ending"] == "as planned"
    assert len(outcome["cycles"]) >= 9 and all(count > 0 for count in outcome["events"].values()), outcome["events"]
    loss = outcome["loss"]
    assert loss["checked"] > 2800 and loss["listened"] > 1000 and sum(loss.values()) == loss["checked"] + loss["listened"], loss
    assert {window["phase"] for window in outcome["windows"]} == {"steady", "updates"}
    suite = xml.parse(paths["junit"]).getroot().find("testsuite")
    assert int(suite.get("failures")) == int(suite.get("errors")) == 0
    assert len(suite.findall("testcase")) == int(suite.get("tests")) >= 5
    html = paths["report"].read_text()
    assert "<svg" in html and "12.4 MB" in html and "src=" not in html and "https://" not in html

    compared = subprocess.run([brokers.program(), "soak", "compare", paths["json"], paths["json"]], capture_output=True, text=True, timeout=20)
    assert compared.returncode == 0 and "× 1.00 (1.00 to 1.00)" in compared.stdout, compared.stdout


@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_forty_bytes_an_update_fail_and_are_measured(tmp_path):
    library, path = tmp_path / "leak.so", tmp_path / "leak.json"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, FIXTURES / "leak_per_publish.c", "-ldl"], check=True)
    program = brokers.program("mosquitto")
    leaking = soak(tmp_path, "--json", str(path), broker=f"env LD_PRELOAD={library} {program} -c {{config}}", seconds=40)
    assert leaking.returncode == 1, leaking.stdout + leaking.stderr
    leak = next(leak for leak in json.loads(path.read_text())["leaks"] if leak["view"] == "resident")
    assert leak["driver"] == "updates" and leak["growth"]["grows"]
    # glibc takes 48 bytes for 40.
    assert 0.85 * 48 < leak["growth"]["per_event"] < 1.15 * 48, leak


def test_ctrl_c_ends_it_with_what_there_is(tmp_path):
    path = tmp_path / "partial.json"
    process = subprocess.Popen(command(tmp_path, "--json", str(path), seconds=120), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(12)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    outcome = json.loads(path.read_text())
    assert process.returncode == 130 and outcome["ending"] == "interrupted" and outcome["verdict"] == "partial", out + err
    assert "PARTIAL" in out and outcome["events"]["updates"] > 0


def test_a_broker_that_dies_has_failed(tmp_path):
    path = tmp_path / "dead.json"
    process = subprocess.Popen(command(tmp_path, "--json", str(path), seconds=40), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(14)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1 and json.loads(path.read_text())["loss"]["restarts"] == 1, out + err


def test_the_process_that_listens_is_judged(tmp_path):
    path = tmp_path / "shell.json"
    shell = f"sh -c '{brokers.program()} -c {{config}}; true'"
    done = soak(tmp_path, "--json", str(path), broker=shell, seconds=15)
    outcome = json.loads(path.read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert outcome["broker"]["program"].endswith("plimsoll") and outcome["memory"]["filled"] > 1e6, outcome["memory"]
    # Ended with all that it had started; whoever inherits it may not have waited for it yet.
    stat = Path(f"/proc/{outcome['broker']['pid']}/stat")
    assert not stat.exists() or stat.read_text().rsplit(") ", 1)[1].startswith("Z")
    with subprocess.Popen(["sleep", "60"]) as other, broker_at(tmp_path) as (process, port):
        done = subprocess.run([brokers.program(), "soak", "--pid", str(other.pid), "--connect", f"127.0.0.1:{port}"],
                              capture_output=True, text=True, timeout=20)
        other.kill()
    assert done.returncode == 2 and f"process {process.pid} (plimsoll) does" in done.stderr, done.stderr


@contextlib.contextmanager
def broker_at(tmp_path, more=""):
    port = brokers.free_port()
    process = subprocess.Popen([brokers.program(), "-c", str(config(tmp_path, port, more))], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        yield process, port
    finally:
        process.terminate()
        process.wait(10)


def test_what_the_broker_says_over_http_is_judged_too(tmp_path):
    path, http = tmp_path / "accounts.json", brokers.free_port()
    text = command(tmp_path, "--json", str(path), "--accounts", f"plimsoll=http://127.0.0.1:{http}", seconds=20)
    port = text[text.index("--connect") + 1].rsplit(":", 1)[1]
    config(tmp_path, port, more=f"listener {http} 127.0.0.1\nprotocol http_api\n")
    done = subprocess.run(text, capture_output=True, text=True, timeout=120)
    outcome = json.loads(path.read_text())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "account" in [leak["view"] for leak in outcome["leaks"]] and outcome["memory"]["account"] > 1e5, outcome["leaks"]
    refused = soak(tmp_path, "--accounts", "mosquitto")
    assert refused.returncode == 2 and "over HTTP" in refused.stderr


def test_two_brokers_are_compared(tmp_path):
    path, report = tmp_path / "first.json", tmp_path / "both.html"
    port = brokers.free_port()
    other = f"{brokers.program('mosquitto')} -c {config(tmp_path, port)}"
    done = soak(tmp_path, "--vs", other, "--vs-connect", f"127.0.0.1:{port}", "--json", str(path), "--report", str(report), seconds=12)
    assert done.returncode == 0 and "B to A" in done.stdout, done.stdout + done.stderr
    compared = subprocess.run([brokers.program(), "soak", "compare", path, f"{path}.vs.json"], capture_output=True, text=True, timeout=20)
    assert compared.returncode == 0 and "mosquitto" in compared.stdout and "×" in compared.stdout
    assert "Compared" in report.read_text()
    # What the first one has come to is not lost with the second.
    path.unlink()
    done = soak(tmp_path, "--vs", "false", "--json", str(path), seconds=12)
    assert done.returncode == 2 and "the second broker" in done.stderr and json.loads(path.read_text())["verdict"] == "pass"


def test_each_device_has_a_certificate(tmp_path):
    made = subprocess.run([brokers.ROOT / "packaging/fleet/certificates", tmp_path / "pki", "30"], capture_output=True, text=True, timeout=60)
    assert made.returncode == 0, made.stderr
    pki, port = tmp_path / "pki", brokers.free_port()
    tls = f"cafile {pki}/ca.crt\ncertfile {pki}/server.crt\nkeyfile {pki}/server.key\nrequire_certificate true\nuse_identity_as_username true\n"
    with broker_at(tmp_path, more=f"user root\nlistener {port} 127.0.0.1\n{tls}"):
        common = ["--connect", f"mqtts://127.0.0.1:{port}", "--cafile", f"{pki}/ca.crt"]
        fleet = [brokers.program(), "fleet", *common, "--sensors", "30", "--every", "1s", "--for", "3s", "--json"]
        done = subprocess.run([*fleet, "--cert-dir", f"{pki}/devices"], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0 and json.loads(done.stdout)["published"] > 60, done.stdout + done.stderr
        nobody = subprocess.run(fleet, capture_output=True, text=True, timeout=30)
        assert nobody.returncode == 2, nobody.stdout + nobody.stderr
        (pki / "devices/plant-3-sensor-3.crt").unlink()
        missing = subprocess.run([*fleet, "--cert-dir", f"{pki}/devices"], capture_output=True, text=True, timeout=30)
        assert missing.returncode == 2 and "plant-3-sensor-3.crt" in missing.stderr, missing.stderr
    endless = soak(tmp_path, "--cert-dir", f"{pki}/devices")
    assert endless.returncode == 2 and "--cert-dir is for" in endless.stderr


def test_what_cannot_run_says_why(tmp_path):
    junit, report = tmp_path / "soak.xml", tmp_path / "soak.html"
    junit.write_text("of an earlier run")
    done = soak(tmp_path, "--junit", str(junit), "--report", str(report), broker="sh -c 'echo no such option >&2; exit 3'")
    assert done.returncode == 2 and "no such option" in done.stderr and not done.stdout
    assert "no such option" in xml.parse(junit).getroot().find(".//error").get("message") and not report.exists()
    done = soak(tmp_path, scenario="[load]\nretainde = 1\n")
    assert done.returncode == 2 and "scenario.toml" in done.stderr and "retainde" in done.stderr
    nobody = subprocess.run([brokers.program(), "soak", "--connect", "127.0.0.1"], capture_output=True, text=True, timeout=20)
    assert nobody.returncode != 0 and "--broker-cmd" in nobody.stderr
    template = subprocess.run([brokers.program(), "soak", "scenario"], capture_output=True, text=True, timeout=20)
    assert template.returncode == 0 and "leak_mb_per_hour = 0.2" in template.stdout


@pytest.mark.skipif(os.geteuid() != 0 or not os.access("/sys/fs/cgroup/memory", os.W_OK), reason="no memory cgroup that may be changed")
def test_capacity_says_what_fits_and_what_happens_then(tmp_path):
    def capacity(*more, broker):
        port = brokers.free_port()
        text = broker.format(config=config(tmp_path, port, more="max_connections -1\n"))
        done = subprocess.run([brokers.program(), "soak", "capacity", "--broker-cmd", text, "--connect", f"127.0.0.1:{port}", "--json", *more],
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    mosquitto = capacity("--limit", "24MiB", broker=f"{brokers.program('mosquitto')} -c {{config}}")
    assert mosquitto["end"] == "dies" and 5_000 < mosquitto["taken"] < 100_000, mosquitto
    held = capacity("--limit", "64MiB", "--what", "connections", "--at-most", "200", broker=f"{brokers.program()} -c {{config}}")
    assert held["end"] == "holds" and held["taken"] >= 200, held
    assert not list(Path("/sys/fs/cgroup/memory").glob("plimsoll-soak-*"))
