"""Copies of the session and logs hold no secrets, and nothing else is taken out of them."""

from __future__ import annotations

import re

import pytest

from tests.corpus.sessions import BOOTSTRAPS, RESULTS
from vscadmin.proxy.redact import Redactor, redact

UUID = "5ec2e700-1111-4222-8333-444455550000"
SECRETS = [
    f"connectionToken=={UUID}==",
    f"execServerToken=={UUID}==   ",
    f"webUiAccessToken=={UUID}==",
    f"listeningOn==37178==connectionToken=={UUID}==osReleaseId==rocky==",
    f"--connection-token={UUID} --port=0",
    f"--connection-token {UUID} --port 0",
    f'--connection-token "{UUID}"',
    "--require-token 5ec2e7a1b2c3 --parent-process-id 20449",
    "['code', '--require-token', '5ec2e7a1b2c3', '--on-port']",
    f'VSCODE_CLI_REQUIRE_TOKEN={UUID} "$CLI_PATH" command-shell',
    f'declare -x VSCODE_CLI_REQUIRE_TOKEN="{UUID}"',
    f"    EXEC_SERVER_TOKEN='{UUID}'",
    "GITHUB_TOKEN=5ec2e7/AZ+09,x== next",
    'PASSWORD="5ec2e7 with blanks" next',
    "SERVER_PASSWORD=5ec2e7",
    "CLIENT_SECRET=5ec2e7",
    f"echo {UUID} > $HOME/.vscode-server/.x.token",
    f"echo '{UUID}' > \"$VSCH_TOKENFILE\"",
    f'(umask 077; printf \'%s\\n\' "{UUID}" >"$SERVER_TOKENFILE")',
    f"echo -n {UUID}>>$TOKENFILE",
    f'{{"connectionToken": "{UUID}", "port": 1}}',
    f'"{{\\"token\\":\\"{UUID}\\"}}"',
    f"{{'token': '{UUID}'}}",
    f'looking for token {UUID}, got Some("{UUID}")',
    f"token = {UUID}",
    f"X-Token: {UUID}",
    f"http://127.0.0.1:8000/?tkn={UUID}&folder=/home",
    f"GET /?reconnectionToken={UUID}&reconnection=false",
    f"Token={UUID}é",
]
NO_SECRETS = [
    "connectionToken====",
    "connectionToken==$CONNECTION_TOKEN==",
    'SERVER_CONNECTION_TOKEN="$(cat $SERVER_TOKENFILE)"',
    "SERVER_CONNECTION_TOKEN=`cat $SERVER_TOKENFILE`",
    "SERVER_CONNECTION_TOKEN=",
    'CONNECTION_TOKEN="" PORT=0',
    'VSCH_TOKENFILE="$HOME/.vscode-server/.x.token"',
    "--connection-token-file /home/zoe/.x.token --port=0",
    "--connection-token-file=/home/zoe/.x.token",
    "--connection-secret /home/zoe/.x.token",
    "--connection-secret=/home/zoe/.x.token",
    "--without-connection-token --port=0",
    "--without-connection-token serve-web",
    '--require-token "$EXEC_SERVER_TOKEN" --on-port',
    "--require-token --on-port",
    'echo $CONNECTION_TOKEN > "$VSCH_TOKENFILE"',
    "echo done > report.txt",
    'if [ -z "$TOKEN" ]; then',
    'grep "token=" file',
    "the token is wrong",
    "--password-store=basic",
    "max_tokens=5",
    "got Some(",
]


def hidden(text: str) -> str:
    """Return what is to become of *text*: every secret in it begins with 5ec2e7."""
    return re.sub(r"5ec2e7( with blanks|/AZ\+09,x)?[0-9a-f-]*é?", "[redacted]", text)


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_is_replaced_and_nothing_else(text: str) -> None:
    assert "5ec2e7" in text
    assert redact(text) == hidden(text)


@pytest.mark.parametrize("text", NO_SECRETS)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("data", [*BOOTSTRAPS.values(), *RESULTS.values()])
def test_a_session_is_copied_without_its_secrets(data: tuple[bytes, bytes]) -> None:
    for text in (each.decode("latin-1") for each in data):
        redactor = Redactor()
        copied = redactor.feed(text.encode("latin-1")) + redactor.end()
        assert copied.decode("latin-1") == hidden(text)


def test_the_corpus_has_secrets() -> None:
    held = [name for name, pair in (BOOTSTRAPS | RESULTS).items() if b"5ec2e7" in pair[0]]
    assert len(held) >= 20


def test_text_of_any_kind_survives() -> None:
    assert redact("\udcff \ud800 é token=x\udcff") == "\udcff \ud800 é token=[redacted]"


def test_a_line_is_written_once_it_is_complete() -> None:
    redactor = Redactor()
    assert redactor.feed(b"one\ntoken=5ec2") == b"one\n"
    assert redactor.feed(b"e7\ntwo") == b"token=[redacted]\n"
    assert redactor.end() == b"two"
    assert redactor.end() == b""


def test_an_unfinished_secret_is_hidden_at_the_end() -> None:
    redactor = Redactor()
    assert redactor.feed(b"VSCODE_CLI_REQUIRE_TOKEN=5ec2") == b""
    assert redactor.end() == b"VSCODE_CLI_REQUIRE_TOKEN=[redacted]"


@pytest.mark.parametrize("size", [7, 1000, 70_000, 300_000])
@pytest.mark.parametrize("secret", [b"--require-token 5ec2e7", b"echo 5ec2e7 > x.token"])
def test_a_line_without_an_end_is_not_held_for_ever_and_leaks_nothing(
    size: int, secret: bytes
) -> None:
    line = b" ".join([b"x" * 65_000, *[secret] * 3000, b"x" * 65_000])
    redactor = Redactor()
    out = b"".join(redactor.feed(line[at : at + size]) for at in range(0, len(line), size))
    assert len(out) > len(line) - 65_000
    assert out + redactor.end() == line.replace(b"5ec2e7", b"[redacted]")


def test_a_long_line_is_not_cut_between_a_secret_and_its_file() -> None:
    line = "x " * 33_000 + f"echo 5ec2e7 > {'y' * 150} --token={'5' * 2000}"
    redactor = Redactor()
    assert redactor.feed(line.encode()) + redactor.end() == redact(line).encode()
    assert "5ec2e7" not in redact(line)


def test_a_secret_as_long_as_a_credential_gets_is_hidden() -> None:
    assert redact("token=" + "x" * 16000 + " y") == "token=[redacted] y"


def test_a_line_of_nothing_but_overlapping_secrets_is_not_held_for_ever() -> None:
    redactor = Redactor()
    line = b'token="%b echo a > "' % (b"x" * 150) * 3000
    assert len(redactor.feed(line)) > len(line) // 20
