from __future__ import annotations

import pytest

from vscadmin.escape import command_line, printable


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain", "plain"),
        (b"\x1b[31mred", "\\x1b[31mred"),
        (b"two\nlines\r", "two\\x0alines\\x0d"),
        (b"caf\xc3\xa9", "café"),
        (b"caf\xe9", "caf\\xe9"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("a\u200bb\u2066c\ufeff", "a\\u200bb\\u2066c\\ufeff"),
        ("\x9b31m", "\\x9b31m"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_could_harm_is_escaped(raw: bytes | str, shown: str) -> None:
    assert printable(raw) == shown


def test_long_text_is_cut_and_says_so() -> None:
    assert printable("x" * 1000, 10) == "x" * 9 + "…"
    assert printable("x" * 10, 10) == "x" * 10


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("x --connection-token=abc --port 0", "x --connection-token=*** --port 0"),
        ("x --require-token abc --on-port", "x --require-token *** --on-port"),
        ("x --require-token --on-port", "x --require-token --on-port"),
        ("x --connection-token-file /a/b", "x --connection-token-file /a/b"),
        ("x --without-connection-token y", "x --without-connection-token y"),
        ("token abc", "token abc"),
    ],
)
def test_tokens_are_never_shown(line: str, shown: str) -> None:
    assert command_line(line.encode().split()) == shown


def test_a_command_line_is_one_line() -> None:
    assert command_line([b"sh", b"-c", b"echo\nowned"]) == "sh -c echo\\x0aowned"
