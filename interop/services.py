"""Web services that are sent things: one that keeps what it was sent, over TLS if need be, and a real Alertmanager."""

import http.server
import json
import shutil
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request

import broker as brokers


class Service:
    """Keeps each request as (path, headers by their names in small letters, body). `answer(path, body)` gives status and text; 200 and nothing without."""

    def __init__(self, answer=None, certificate=None, port=0):
        self.requests, answers = [], answer or (lambda path, body: (200, ""))
        kept = self.requests

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                kept.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                self.answer(*answers(self.path, body))

            def answer(self, status, text):
                self.send_response(status)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def do_GET(self):
                kept.append((self.path, {name.lower(): value for name, value in self.headers.items()}, b""))
                self.answer(*answers(self.path, b""))

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def until(self, wanted, seconds=60):
        """Waits until `wanted(requests)` is true, and answers it."""
        return until(lambda: wanted(list(self.requests)), seconds)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def until(wanted, seconds=60):
    """Waits until a question is answered with something true, and answers that."""
    deadline = time.monotonic() + seconds
    while not (value := wanted()):
        assert time.monotonic() < deadline, "that never came"
        time.sleep(0.05)
    return value


class Alertmanager:
    """Debian's prometheus-alertmanager, which tells `receiver` (a URL) what it would tell people."""

    PROGRAM = shutil.which("prometheus-alertmanager")

    def __init__(self, directory, receiver):
        assert self.PROGRAM, "there is no Alertmanager: apt-get install prometheus-alertmanager"
        self.port = brokers.free_port()
        config = directory / "alertmanager.yml"
        config.write_text(
            "route: {receiver: people, group_by: [alertname, target], group_wait: 0s, group_interval: 1s, repeat_interval: 1h}\n"
            f"receivers: [{{name: people, webhook_configs: [{{url: '{receiver}', send_resolved: true}}]}}]\n"
        )
        command = [
            self.PROGRAM, f"--config.file={config}", f"--storage.path={directory}/alertmanager",
            f"--web.listen-address=127.0.0.1:{self.port}", "--cluster.listen-address=",
        ]  # fmt: skip
        self.log = open(directory / "alertmanager.log", "wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        until(self.ready)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def ready(self):
        try:
            return urllib.request.urlopen(f"{self.url}/-/ready", timeout=2).status == 200
        except urllib.error.URLError:
            assert self.process.poll() is None, "Alertmanager has ended"
            return False

    def alerts(self):
        """The alerts that stand, as its API tells them."""
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts?active=true", timeout=5) as answer:
            return json.load(answer)

    def until(self, targets, summary=""):
        """Waits until these targets have alerts, each one with this in its summary, and no others: the alerts by target then."""

        def wanted():
            alerts = self.alerts()
            said = all(summary in alert["annotations"]["summary"] for alert in alerts)
            return said and sorted(alert["labels"]["target"] for alert in alerts) == targets and alerts

        return {alert["labels"]["target"]: alert for alert in until(wanted)}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.log.close()
