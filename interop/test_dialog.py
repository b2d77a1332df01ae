"""The language of dialog.py, and that every case of the corpus is well written."""

import pytest

from dialog import ANY, REST, Packet, _fits, _without_comment, parse_bytes
from test_corpus import cases, packets


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10 0004", [0x10, 0, 4]),
        ("'ab' \"ab\"", [0, 2, 97, 98, 97, 98]),
        ("{ 01 02 }", [2, 1, 2]),
        ("[ 01 02 ]", [0, 2, 1, 2]),
        ("{ 00*200 }", [0xC8, 1, *[0] * 200]),
        ("2B2F*2", [0x2B, 0x2F, 0x2B, 0x2F]),
        ("{ 'a' {} }*2", [4, 0, 1, 97, 0, 4, 0, 1, 97, 0]),
        ("40 ?? ..", [0x40, ANY, REST]),
        ("$part(7F)", [1, 0x7F]),
    ],
)
def test_bytes_are_read(text, expected):
    assert parse_bytes(text, {"part": "{ @ }"}) == expected


@pytest.mark.parametrize("text", ["{ 01", "01 ]", "{ 01 ]", "0", "$"])
def test_what_is_not_the_notation_is_refused(text):
    with pytest.raises((ValueError, IndexError)):
        parse_bytes(text)


def test_expectations_fit():
    assert _fits(b"\x40\x02\x00\x01", [0x40, 2, ANY, 1])
    assert _fits(b"\x40\x02\x00\x01", [0x40, REST])
    assert not _fits(b"\x40\x02\x00\x01", [0x40, 2])
    assert not _fits(b"\x40", [0x40, 2])


def test_reason_codes_are_found():
    assert Packet(b"\x90\x05\x00\x01\x00\x01\x8f", b"\x00\x01\x00\x01\x8f").reason_codes(5) == [1, 0x8F]
    assert Packet(b"\x90\x03\x00\x01\x80", b"\x00\x01\x80").reason_codes(4) == [0x80]
    assert Packet(b"\xe0\x00", b"").reason_codes(5) == [0]
    assert Packet(b"\x40\x02\x00\x01", b"\x00\x01").reason_codes(5) == [0]


def test_comments_end_outside_of_quotes():
    assert _without_comment("> 'a/#' # a wildcard") == "> 'a/#' "


def test_every_packet_of_the_corpus_can_be_read():
    for parameter in cases():
        case, version = parameter.values
        assert case["statements"], case["name"]
        other_version = "v3:" if version == 5 else "v5:"
        for line in case["script"].splitlines():
            line = _without_comment(line)
            if "> " in line and not line.startswith(other_version):
                parse_bytes(line.split("> ", 1)[1], packets(version))
