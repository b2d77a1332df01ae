"""Rust sources as tidy and conformance read them: which files there are, what is code, what is test."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Comments, strings and character literals, whose braces and words do not count as code.
NOT_CODE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|r(\#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?'(?:\\(?:x..|u\{[^}]*\}|.)|[^'\\])'""",
    re.DOTALL,
)
TEST_ITEM = re.compile(r"#\[cfg\((?:test|all\(test\b[^\]]*\))\)\]")


def sources(pattern="*.rs"):
    """All files of the tree with such names that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return sorted(path for line in listed.stdout.splitlines() if (path := ROOT / line).exists())


def _blank(text):
    return re.sub(r"[^\n]", " ", text)


def code_of(text):
    """The text with all that is not code blanked out; every character keeps its place."""
    return NOT_CODE.sub(lambda match: _blank(match[0]), text)


def closing(code, brace):
    """The index behind the brace that closes the one at `brace`."""
    depth = 0
    for match in re.compile("[{}]").finditer(code, brace):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return match.end()
    return len(code)


def test_spans(code):
    """Where the bodies of `#[cfg(test)]` items begin and end."""
    for match in TEST_ITEM.finditer(code):
        brace, semicolon = code.find("{", match.end()), code.find(";", match.end())
        if brace >= 0 and not 0 <= semicolon < brace:
            yield match.start(), closing(code, brace)


def without_tests(code):
    """The code with its tests blanked out."""
    for start, end in test_spans(code):
        code = code[:start] + _blank(code[start:end]) + code[end:]
    return code


def is_test(path):
    """Whether a whole file is tests or benches."""
    return path.name == "tests.rs" or bool({"tests", "benches"} & set(path.relative_to(ROOT).parts[:-1]))
