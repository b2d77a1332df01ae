"""What rules and dashboard ask of Prometheus."""

import json
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
RULES = HERE / "prometheus" / "plimsoll.rules.yml"
RULE_TESTS = HERE / "prometheus" / "plimsoll.test.yml"
WATCH_RULES = HERE / "prometheus" / "plimsoll-watch.rules.yml"
WATCH_RULE_TESTS = HERE / "prometheus" / "plimsoll-watch.test.yml"
DASHBOARD = HERE / "grafana" / "plimsoll.json"
WATCH_DASHBOARD = HERE / "grafana" / "plimsoll-watch.json"

# A metric, which a rule that records has not named (those have a colon).
METRIC = re.compile(r"(?<![\w:])(?:plimsoll|process)_[a-z0-9_]+(?![\w:])")


def dashboard_expressions(path):
    """Every expression of a dashboard, with where it stands."""
    board = json.loads(path.read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            yield f"panel {panel['title']!r}", target["expr"]
    for annotation in board["annotations"]["list"]:
        yield f"annotation {annotation['name']!r}", annotation["expr"]
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']!r}", re.fullmatch(r"label_values\((.*), \w+\)", variable["definition"])[1]


def metrics(rules, dashboard):
    """Every metric that these rules and this dashboard name."""
    lines = "\n".join(line for line in rules.read_text().splitlines() if not line.strip().startswith("#"))
    names = {name for _, expression in dashboard_expressions(dashboard) for name in METRIC.findall(expression)}
    return names | set(METRIC.findall(lines))
