"""MQTT.js in a real browser: headless Chromium, over ws:// and wss://."""

import http.server
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import broker as brokers
import pytest
from durable import STAY
from pki import Authority

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="needs a listener of its own")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SCRIPT = Path(os.environ.get("NODE_PATH", "")) / "mqtt" / "dist" / "mqtt.min.js"
PAGE = """<!doctype html><script src="/mqtt.js"></script><script>
const told = {received: [], errors: []};
const tell = () => fetch('/told', {method: 'POST', body: JSON.stringify(told)});
const client = mqtt.connect('%(url)s', {protocolVersion: %(version)d, clientId: 'browser', reconnectPeriod: 0, connectTimeout: 8000});
client.on('error', error => { told.errors.push(String(error)); tell(); });
client.on('message', (topic, payload, packet) => {
  told.received.push([topic, payload.length, packet.qos]);
  if (told.received.length === 3) client.end(false, {}, tell);
});
client.on('connect', () => client.subscribe('page/#', {qos: 2}, () => {
  client.publish('page/small', 'hello', {qos: 0});
  client.publish('page/large', 'x'.repeat(300000), {qos: 1});
  client.publish('page/exact', 'once', {qos: 2});
}));
setTimeout(() => { told.errors.push('too late'); tell(); }, 15000);
</script>"""


def in_browser(url, version):
    """What a page with MQTT.js tells of its time with a broker."""
    told = queue.Queue()

    class Pages(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            script = self.path == "/mqtt.js"
            body = SCRIPT.read_bytes() if script else (PAGE % {"url": url, "version": version}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript" if script else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as profile:
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--ignore-certificate-errors", f"--user-data-dir={profile}"]
        browser = subprocess.Popen(
            [CHROMIUM, *flags, f"http://127.0.0.1:{server.server_address[1]}/"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            return told.get(timeout=60)
        finally:
            browser.terminate()
            browser.wait(10)
            server.shutdown()


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_mqtt_js_in_chromium(tmp_path, scheme, version):
    assert CHROMIUM, "chromium is not installed: .ci/run does that"
    assert SCRIPT.exists(), f"{SCRIPT}: run interop/run, which installs MQTT.js"
    listener = "protocol websockets\n"
    if scheme == "wss":
        certificate, key = Authority(tmp_path, "root").issue("server", names=["localhost", "127.0.0.1"])
        listener += f"certfile {certificate}\nkeyfile {key}\n"
    with brokers.Broker(config=STAY, listener=listener) as broker:
        told = in_browser(f"{scheme}://localhost:{broker.port}/mqtt", version)
        assert told["errors"] == [], broker.log_text()
        assert sorted(told["received"]) == [["page/exact", 4, 2], ["page/large", 300000, 1], ["page/small", 5, 0]]
        assert f"as browser (p{ {4: 2, 5: 5}[version] }," in broker.log_text()
