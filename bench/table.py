"""Turns results of bench/run into the table of docs/performance.md.

Of each cell the newest result of a round and broker counts. Figures are medians with their range;
ratios are of the medians, with the range of the ratios of single rounds, because the brokers took
turns and a round's two runs met the same machine.
"""

import json
import os
import platform
import shutil
import statistics
import subprocess
import time

BEGIN = "<!-- table: made by bench/run --write -->"
END = "<!-- end of table -->"
BASE, SUBJECT = "mosquitto", "plimsoll"
# What must be zero in a result for its figures to count.
PROMISES = ("lost", "duplicates", "reordered", "corrupt", "misrouted", "wrong_qos", "rejected", "dropped")
HEADER = f"""| cell | {BASE} | {SUBJECT} | ratio | to reach | |
|---|---|---|---|---|---|"""


def read(path):
    """Results as (cell, broker) → round → newest result."""
    results = {}
    if path.exists():
        for line in path.read_text().splitlines():
            result = json.loads(line)
            results.setdefault((result["cell"], result["broker"]), {})[result["round"]] = result
    return results


def make(cells, results):
    """The text between the markers."""
    lines = [_preface(cells, results), "", HEADER]
    notes = []
    for name, cell in cells.items():
        base, subject = results.get((name, BASE), {}), results.get((name, SUBJECT), {})
        if not base and not subject:
            continue
        lines += [_row(row, base, subject) for row in cell["rows"]]
        notes += [f"- {name}, {broker}: {said}" for broker, of in ((BASE, base), (SUBJECT, subject)) for said in _broken(of)]
    if notes:
        lines += ["", "Promises broken, and errors (worst run of each):", "", *notes]
    return "\n".join(lines)


def write(path, text):
    """Replaces the table in a document, or begins one."""
    old = path.read_text() if path.exists() else f"# Performance\n\n{BEGIN}\n{END}\n"
    if BEGIN not in old or END not in old:
        raise SystemExit(f"{path} has no markers {BEGIN} … {END}")
    before, rest = old.split(BEGIN, 1)
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END, 1)[1]}")


def _preface(cells, results):
    rounds = [len(of) for (cell, _), of in results.items() if cell in cells]
    loads = [result[key] for of in results.values() for result in of.values() for key in ("load_before",) if key in result]
    load = f", load average {min(loads):.1f}–{max(loads):.1f}" if loads else ""
    count = f"{min(rounds)}" if rounds and min(rounds) == max(rounds) else f"{min(rounds, default=0)}–{max(rounds, default=0)}"
    return (
        f"Made on {time.strftime('%F')} with `bench/run --write` at commit {_commit()} against {_base_version()}, "
        f"{_processor()}{load}; "
        f"medians (and ranges) of {count} rounds, the brokers taking turns; loopback, 64 B payloads, MQTT 3.1.1."
    )


def _commit():
    said = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return said.stdout.strip() or "unknown"


def _base_version():
    program = shutil.which(BASE, path=os.environ["PATH"] + ":/usr/sbin") or BASE
    said = subprocess.run([program, "-h"], capture_output=True, text=True)
    return said.stdout.splitlines()[0].strip() if said.stdout else BASE


def _processor():
    said = subprocess.run(["nproc"], capture_output=True, text=True) if shutil.which("nproc") else None
    return f"{said.stdout.strip() if said else '?'} CPUs, Linux {platform.release()}"


def _row(row, base, subject):
    ours, theirs = _figures(row, subject), _figures(row, base)
    both = [(ours[n], theirs[n]) for n in ours if theirs.get(n)]
    ratios = [a / b for a, b in both]
    ratio = None
    if ratios and statistics.median(theirs.values()):
        ratio = statistics.median(ours.values()) / statistics.median(theirs.values())
    kept = not list(_broken(subject))
    cells = [
        row["title"],
        _spread(theirs.values(), row),
        _spread(ours.values(), row),
        "–" if ratio is None else _with_range(_number(ratio), ratios),
        _goal(row),
        _verdict(row, ours.values(), ratio, kept),
    ]
    return "| " + " | ".join(cells) + " |"


def _figures(row, rounds):
    """The row's figure of each round that has one."""
    found = {}
    for number, result in rounds.items():
        value = _look_up(result, row["value"])
        if value is None:
            continue
        if "per" in row:
            value = _quotient(value, _look_up(result, row["per"]))
        if "given_back_of" in row:
            held = _look_up(result, row["given_back_of"])
            value = 100 * (1 - value / held) if held else None
        if value is not None:
            found[number] = value * row.get("factor", 1)
    return found


def _quotient(value, by):
    return value / by if by else None


def _look_up(result, path):
    for key in path.split("."):
        try:
            result = result[int(key) if isinstance(result, list) else key]
        except (KeyError, IndexError, TypeError):
            return None
    return result


def _number(x):
    if x == 0 or abs(x) >= 100:
        return f"{x:,.0f}"
    return f"{x:.1f}" if abs(x) >= 10 else f"{x:.2f}"


def _with_range(middle, values):
    low, high = _number(min(values)), _number(max(values))
    return middle if low == high else f"{middle} ({low}–{high})"


def _spread(values, row):
    values = list(values)
    if not values:
        return "–"
    return f"{_with_range(_number(statistics.median(values)), values)} {row.get('unit', '')}".strip()


def _goal(row):
    for key, sign in (("ratio_min", "≥"), ("ratio_max", "≤"), ("min", "≥"), ("max", "≤")):
        if key in row:
            unit = "" if key.startswith("ratio") else f" {row.get('unit', '')}"
            return f"{sign} {_number(row[key]).removesuffix('.00').removesuffix('.0')}{unit}".strip()
    return ""


def _verdict(row, values, ratio, kept):
    """Met, or by how much it falls short."""
    values = list(values)
    if not values:
        return ""
    if not kept:
        return "promise broken"
    for key in ("ratio_min", "min", "ratio_max", "max"):
        if key not in row:
            continue
        is_ratio = key.startswith("ratio")
        reached = ratio if is_ratio else statistics.median(values)
        if reached is None:
            return ""
        if (reached >= row[key]) if key.endswith("min") else (reached <= row[key]):
            return "met"
        if not row[key]:
            return f"**short**: {_number(reached)}"
        return f"**short**: {100 * reached / row[key]:.0f} % of the goal"
    return ""


def _broken(rounds):
    for key in PROMISES:
        worst = max((result.get(key) or 0 for result in rounds.values()), default=0)
        if worst:
            yield f"{key} {worst:,}"
    yield from sorted({said for result in rounds.values() for said in (result.get("error"), result.get("down")) if said})
    if any(result.get("alive_after") is False for result in rounds.values()):
        yield "the broker died"
