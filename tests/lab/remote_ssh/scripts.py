"""The bootstrap scripts that the Remote-SSH client sends to the remote shell's stdin."""

from __future__ import annotations

import enum
import secrets
import shlex
from dataclasses import dataclass, field
from typing import Final

# What every layout begins with. The byte in the comment is not UTF-8, as in a real user's.
_HEAD: Final = r"""# Remote editor server bootstrap (d\xe9but)
SCRIPT_ID=@ID@
COMMIT_ID=@COMMIT@
SERVER_DATA_DIR="$HOME/.vscode-server"
LOCK_FILE="$SERVER_DATA_DIR/.lock.$COMMIT_ID"
RECONNECTION_GRACE_TIME_FLAG=@EXTRA@
EXIT_CODE=0
LISTENING_ON=
SERVER_PID=
SERVER_START_TIME=
echo "$SCRIPT_ID: running"
echo "Script executing under PID: $$"
mkdir -p "$SERVER_DATA_DIR"
OS_RELEASE_ID="$(sed -n 's/^ID=//p' /etc/os-release 2>/dev/null | tr -d '"')"
TMP_DIR=/tmp
if [ -n "$XDG_RUNTIME_DIR" ] && [ -w "$XDG_RUNTIME_DIR" ]; then
    TMP_DIR="$XDG_RUNTIME_DIR"
fi

acquire_lock() {
    echo "Acquiring lock on $LOCK_FILE"
    echo $$ > "$LOCK_FILE.$$"
    until ln "$LOCK_FILE.$$" "$LOCK_FILE" 2>/dev/null; do
        kill -0 "$(cat "$LOCK_FILE" 2>/dev/null)" 2>/dev/null || rm -f "$LOCK_FILE"
        sleep 0.1
    done
}

release_lock() {
    rm -f "$LOCK_FILE" "$LOCK_FILE.$$"
}

wait_until_listening() {
    echo "Waiting for server log..."
    started_at=$(date +%s%3N)
    tries=0
    while [ "$tries" -lt 600 ]; do
        read_listening_on
        if [ -n "$LISTENING_ON" ]; then
            SERVER_START_TIME=$(($(date +%s%3N) - started_at))
            return 0
        fi
        kill -0 "$SERVER_PID" 2>/dev/null || break
        sleep 0.1
        tries=$((tries + 1))
    done
    echo "Server did not start successfully. Full server log >>>"
    cat "$SERVER_LOG"
    echo "<<< End of server log"
    EXIT_CODE=32
}
"""

_LEGACY: Final = r"""
VSCH_DIR="$SERVER_DATA_DIR/bin/$COMMIT_ID"
VSCH_SERVER_SCRIPT="$VSCH_DIR/bin/code-server"
VSCH_LOGFILE="$SERVER_DATA_DIR/.$COMMIT_ID.log"
VSCH_PIDFILE="$SERVER_DATA_DIR/.$COMMIT_ID.pid"
VSCH_TOKENFILE="$SERVER_DATA_DIR/.$COMMIT_ID.token"
VSCH_SOCKET="$TMP_DIR/vscode-ssh-remote-server-sock-$(date +%s)$$"
SERVER_LOG="$VSCH_LOGFILE"

read_listening_on() {
    LISTENING_ON="$(sed -n 's/^Extension host agent listening on //p' "$VSCH_LOGFILE" 2>/dev/null)"
}

find_running_server() {
    echo "Checking $VSCH_LOGFILE and $VSCH_PIDFILE for a running server"
    if [ ! -f "$VSCH_LOGFILE" ] || [ ! -f "$VSCH_PIDFILE" ]; then
        return 1
    fi
    SERVER_PID="$(cat "$VSCH_PIDFILE")"
    ps -ww -o args= -p "$SERVER_PID" 2>/dev/null | grep -qF "$VSCH_SERVER_SCRIPT" || return 1
    read_listening_on
    [ -n "$LISTENING_ON" ]
}

start_server() {
    rm -f "$VSCH_LOGFILE" "$VSCH_TOKENFILE"
    (umask 077 && tr -d - < /proc/sys/kernel/random/uuid > "$VSCH_TOKENFILE")
    echo 'Starting server with command: @START@'
    @START@ &
    SERVER_PID=$!
    echo "$SERVER_PID" > "$VSCH_PIDFILE"
    wait_until_listening
}

acquire_lock
echo "Found existing installation at $VSCH_DIR..."
if find_running_server; then
    echo "Found running server..."
else
    start_server
fi
release_lock
CONNECTION_TOKEN="$(cat "$VSCH_TOKENFILE")"
"""

_LEGACY_START: Final = (
    '"$VSCH_SERVER_SCRIPT" --start-server @WHERE@ --accept-server-license-terms'
    " --enable-remote-auto-shutdown --telemetry-level off $RECONNECTION_GRACE_TIME_FLAG"
    ' --connection-token-file "$VSCH_TOKENFILE" &> "$VSCH_LOGFILE" < /dev/null'
)

_EXEC: Final = r"""
CLI_PATH="$SERVER_DATA_DIR/code-$COMMIT_ID"
CLI_DATA_DIR="$SERVER_DATA_DIR/cli"
CLI_LOG_FILE="$SERVER_DATA_DIR/.cli.$COMMIT_ID.log"
SERVER_LOG="$CLI_LOG_FILE"
EXEC_SERVER_TOKEN="$(cat /proc/sys/kernel/random/uuid)"
@LISTEN_ARGS@
read_listening_on() {
    LISTENING_ON="$(sed -n 's/^Listening on //p' "$CLI_LOG_FILE" 2>/dev/null)"
}

acquire_lock
echo "Found existing installation at $CLI_PATH..."
rm -f "$CLI_LOG_FILE"
echo "Starting VS Code CLI..."
@START@ < /dev/null &
SERVER_PID=$!
echo "Spawned remote CLI: $SERVER_PID"
wait_until_listening
release_lock
"""

_COMMAND_SHELL: Final = 'command-shell --cli-data-dir "$CLI_DATA_DIR"'
_GRACE: Final = "$RECONNECTION_GRACE_TIME_FLAG"
_EXEC_2023: Final = (
    f"$CLI_PATH {_COMMAND_SHELL} --parent-process-id $$ {_GRACE} --on-port"
    ' --require-token "$EXEC_SERVER_TOKEN" &> "$CLI_LOG_FILE"'
)
_EXEC_2024: Final = (
    f'VSCODE_CLI_REQUIRE_TOKEN="$EXEC_SERVER_TOKEN" "$CLI_PATH" {_COMMAND_SHELL} {_GRACE}'
    ' --on-port --on-host=127.0.0.1 --parent-process-id $$ &> "$CLI_LOG_FILE"'
)
_EXEC_NOW: Final = (
    f'VSCODE_CLI_REQUIRE_TOKEN="$EXEC_SERVER_TOKEN" $CLI_PATH {_COMMAND_SHELL}'
    f" --parent-process-id $$ {_GRACE} ${{LISTEN_ARGS}}"
    ' > "$CLI_LOG_FILE" 2>&1'
)

# The tail: the result, and then nothing but blanks that keep the connection alive.
_RESULT: Final = r"""
echo "$SCRIPT_ID: start"
if [ "$EXIT_CODE" -ne 0 ]; then
    echo "exitCode==$EXIT_CODE=="
fi
@KEYS@
echo "$SCRIPT_ID: end"
while true; do sleep @INTERVAL@; printf ' '; done
"""

_VALUES: Final = {
    "listeningOn": "$LISTENING_ON",
    "osReleaseId": "$OS_RELEASE_ID",
    "arch": "$(uname -m)",
    "vscodeArch": "x64",
    "bitness": "$(getconf LONG_BIT)",
    "tmpDir": "$TMP_DIR",
    "platform": "linux",
    "unpackResult": "",
    "didLocalDownload": "0",
    "downloadTime": "",
    "installTime": "",
    "serverStartTime": "$SERVER_START_TIME",
}
_AGENT: Final = {"SSH_AUTH_SOCK": "$SSH_AUTH_SOCK", "DISPLAY": "$DISPLAY"}
_LEGACY_VALUES: Final = {
    **_AGENT,
    "webUiAccessToken": "",
    **_VALUES,
    "extInstallTime": "",
    "connectionToken": "$CONNECTION_TOKEN",
}
_EXEC_VALUES: Final = {
    **_VALUES,
    "execServerToken": "$EXEC_SERVER_TOKEN",
    "platformDownloadPath": "cli-alpine-x64",
    **_AGENT,
}


class Layout(enum.StrEnum):
    """How the client starts its server: the layout, and how the bind host is passed."""

    LEGACY = "legacy"
    LEGACY_SOCKET = "socket"
    EXEC_2023 = "exec-2023"
    EXEC_2024 = "exec-2024"
    EXEC = "exec"
    EXEC_PORT_FIRST = "exec-port-first"
    EXEC_SOCKET = "exec-socket"

    @property
    def legacy(self) -> bool:
        """Whether the server itself is what listens for clients."""
        return self in (Layout.LEGACY, Layout.LEGACY_SOCKET)

    @property
    def shell(self) -> str:
        """The least shell that the script is written for: `&>` is bash's."""
        return "bash" if "&>" in _START[self] else "sh"


_START: Final = {
    Layout.LEGACY: _LEGACY_START.replace("@WHERE@", "--host=127.0.0.1 --port=0"),
    Layout.LEGACY_SOCKET: _LEGACY_START.replace("@WHERE@", '--socket-path="$VSCH_SOCKET"'),
    Layout.EXEC_2023: _EXEC_2023,
    Layout.EXEC_2024: _EXEC_2024,
    Layout.EXEC: _EXEC_NOW,
    Layout.EXEC_PORT_FIRST: _EXEC_NOW,
    Layout.EXEC_SOCKET: _EXEC_NOW,
}
_LISTEN_ARGS: Final = {
    Layout.EXEC: "--on-host=127.0.0.1 --on-port",
    Layout.EXEC_PORT_FIRST: "--on-port --on-host=127.0.0.1",
    Layout.EXEC_SOCKET: "--on-socket",
}


@dataclass(frozen=True, slots=True)
class Script:
    """One connection's script: blanks come every *interval* seconds.

    *extra* are more options for the server, or the CLI, without blanks in them.
    """

    layout: Layout
    commit: str
    interval: float = 180
    extra: tuple[str, ...] = ()
    script_id: str = field(default_factory=lambda: secrets.token_hex(6))

    def render(self) -> bytes:
        """Return the script as the client sends it."""
        text = _HEAD.replace(r"\xe9", "\xe9")
        text += _LEGACY if self.layout.legacy else _EXEC
        text += _RESULT
        for mark, replacement in self._replacements().items():
            text = text.replace(f"@{mark}@", replacement)
        return text.encode("latin-1")

    def _replacements(self) -> dict[str, str]:
        values = _LEGACY_VALUES if self.layout.legacy else _EXEC_VALUES
        listen = _LISTEN_ARGS.get(self.layout)
        return {
            "START": _START[self.layout],
            "LISTEN_ARGS": f'LISTEN_ARGS="{listen}"' if listen else "",
            "KEYS": "\n".join(f'echo "{key}=={value}=="' for key, value in values.items()),
            "ID": self.script_id,
            "COMMIT": self.commit,
            "EXTRA": shlex.quote(" ".join(self.extra)),
            "INTERVAL": f"{self.interval:g}",
        }
