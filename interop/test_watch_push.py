"""What `plimsoll watch` tells others: a real Alertmanager, a webhook over TLS, and what _bulk of Elasticsearch is documented to answer."""

import json
import signal
import time

import pytest

import broker as brokers
from pki import Authority
from services import Alertmanager, Service
from watching import LEAK_PER_HOUR, Watch, leak_recorded, sleeper, target_table

pytestmark = pytest.mark.skipif(brokers.name() != "plimsoll", reason="Plimsoll's own tool")

def test_alertmanager_has_one_alert_for_each_leak_until_its_target_goes(tmp_path):
    with sleeper() as one, sleeper() as two, Service() as people, Alertmanager(tmp_path, f"http://127.0.0.1:{people.port}/") as alertmanager:
        for name, child in (("edge-1", one), ("edge-2", two)):
            leak_recorded(tmp_path, name, child)
        outputs = f"every = '100ms'\nhistory = '{tmp_path}/history'\n[outputs]\nalertmanager = ['{alertmanager.url}']\n"
        config = tmp_path / "watch.toml"
        config.write_text(outputs + target_table("edge-1", one) + target_table("edge-2", two))
        with Watch(tmp_path, "--config", config) as watch:
            alert = alertmanager.until(["edge-1", "edge-2"])["edge-1"]
            assert alert["labels"] == {"alertname": "PlimsollWatchLeak", "target": "edge-1", "severity": "critical"}
            assert alert["annotations"]["summary"] == "edge-1 leaks memory"
            assert "leaking at 2.0" in alert["annotations"]["description"] and "MB/h" in alert["annotations"]["description"], alert
            assert "Resident memory" in alert["annotations"]["reasons"], alert
            assert alert["status"]["state"] == "active"
            # Everything is sent again with each change: edge-2 goes, and edge-1 stays the alert that it was.
            config.write_text(outputs + target_table("edge-1", one))
            watch.process.send_signal(signal.SIGHUP)
            left = alertmanager.until(["edge-1"])["edge-1"]
            assert left["fingerprint"] == alert["fingerprint"] and left["startsAt"] == alert["startsAt"]
            # A process that has ended may only be restarted: the alert stands for a while, and says so.
            one.kill()
            one.wait()
            gone = alertmanager.until(["edge-1"], "is not there now")["edge-1"]
            assert gone["fingerprint"] == alert["fingerprint"] and gone["startsAt"] == alert["startsAt"]
            assert gone["annotations"]["summary"] == "edge-1 has leaked memory, and is not there now"
            assert watch.end() == 0, watch.output
        told = people.until(lambda requests: [json.loads(body) for _, _, body in requests if json.loads(body)["status"] == "resolved"])
        assert [group["groupLabels"]["target"] for group in told] == ["edge-2"]
        firing = [json.loads(body)["groupLabels"]["target"] for _, _, body in people.requests if json.loads(body)["status"] == "firing"]
        assert sorted(firing) == ["edge-1", "edge-2"], "each once, though it was sent several times"


def test_a_webhook_over_tls_is_told_and_one_that_nobody_has_vouched_for_is_not(tmp_path):
    authority, other = Authority(tmp_path, "root"), Authority(tmp_path, "other")
    certificate = authority.issue("server", names=["localhost"])
    (tmp_path / "headers").write_text("Authorization: Bearer sesame\n")
    with sleeper() as child, Service(certificate=certificate) as service:
        leak_recorded(tmp_path, "edge", child)
        flags = ["--pid", child.pid, "--name", "edge", "--every", "100ms", "--history", tmp_path / "history"]
        flags += ["--webhook", f"https://localhost:{service.port}/hooks/s3cret", "--webhook-headers", tmp_path / "headers"]
        with Watch(tmp_path, *flags, "--push-cafile", other.certificate) as watch:
            watch.await_line(lambda line: line.get("event") == "judged")
            # It is tried again after a second, and said once.
            time.sleep(1.5)
            assert watch.end() == 0, watch.output
        assert service.requests == []
        assert watch.output.count(f"Warning: https://localhost:{service.port}: ") == 1, watch.output
        assert "UnknownIssuer" in watch.output or "unknown issuer" in watch.output.lower(), watch.output
        assert "s3cret" not in watch.output and "sesame" not in watch.output, watch.output
        with Watch(tmp_path, *flags, "--push-cafile", authority.certificate) as watch:
            path, headers, body = service.until(lambda requests: requests[:1])[0]
            judged = json.loads(body)
            assert path == "/hooks/s3cret" and headers["authorization"] == "Bearer sesame"
            assert (judged["event"], judged["target"], judged["verdict"]) == ("judged", "edge", "leaking")
            assert abs(judged["rate_bytes_per_hour"] / LEAK_PER_HOUR - 1) < 0.1 and judged["view"] == "resident", judged
            assert judged["reasons"] and judged["reading"]["pid"] == child.pid
            child.kill()
            child.wait()
            gone = service.until(lambda requests: [json.loads(body) for _, _, body in requests if b"vanished" in body])[0]
            assert gone["event"] == "vanished" and gone["target"] == "edge"
            assert watch.end() == 0, watch.output


class Bulk:
    """No Elasticsearch: one is not to be had here. It takes what the `_bulk` API is documented to take and refuses the rest,
    and answers as documented: the first request 429, then one document 429 and one 400 among others, then all well."""

    def __init__(self):
        self.asked, self.kept, self.refused, self.wrong = 0, [], [], []

    def __call__(self, path, body):
        self.asked += 1
        if self.asked == 1:
            return 429, json.dumps({"error": {"type": "es_rejected_execution_exception", "reason": "rejected execution"}, "status": 429})
        items, mixed = [], not self.refused and body.count(b"\n") >= 6
        try:
            for number, document in enumerate(self.documents(path, body)):
                error = {0: (429, "es_rejected_execution_exception"), 1: (400, "document_parsing_exception")}.get(number) if mixed else None
                items.append({"create": {"status": error[0], "error": {"type": error[1], "reason": error[1]}} if error else {"status": 201}})
                (self.refused if error else self.kept).append(document)
        except (ValueError, AssertionError) as error:
            self.wrong.append(f"{path}: {error}")
            return 400, json.dumps({"error": {"reason": str(error)}, "status": 400})
        return 200, json.dumps({"errors": mixed, "items": items})

    @staticmethod
    def documents(path, body):
        assert path.startswith("/fleet/_bulk?"), "the index is in the path"
        assert body.endswith(b"\n"), "The bulk request must be terminated by a newline [\\n]"
        lines = [json.loads(line) for line in body.splitlines()]
        assert lines and all(line == {"create": {}} for line in lines[::2]), "an action stands before each document"
        assert len(lines) % 2 == 0 and all("@timestamp" in line for line in lines[1::2]), "a data stream wants @timestamp"
        return lines[1::2]


def test_elasticsearch_keeps_each_document_once_though_it_refuses_some_for_now(tmp_path):
    bulk = Bulk()
    with sleeper() as child, Service(answer=bulk) as service:
        flags = ["--pid", child.pid, "--name", "edge", "--every", "100ms"]
        flags += ["--elasticsearch", f"http://127.0.0.1:{service.port}", "--elasticsearch-index", "fleet", "--elasticsearch-every", "200ms"]
        with Watch(tmp_path, *flags) as watch:
            service.until(lambda _: bulk.refused and len(bulk.kept) > 20)
            assert watch.end() == 0, watch.output
    assert bulk.wrong == []
    assert all(headers["content-type"] == "application/x-ndjson" for _, headers, _ in service.requests)
    assert [document["event"] for document in bulk.kept + bulk.refused if document["kind"] == "event"][:1] == ["appeared"]
    times = [document["@timestamp"] for document in bulk.kept if document["kind"] == "reading"]
    assert len(times) == len(set(times)), "none is there twice"
    again, never = bulk.refused
    assert again in bulk.kept, "what was refused for now is sent again"
    assert never not in bulk.kept, "what is wrong is not"
    assert "429 Too Many Requests" in watch.output and "answers again" in watch.output, watch.output
