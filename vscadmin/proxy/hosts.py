"""What a laptop needs to reach the proxy: a Host block for ssh, and settings for the editor.

The block names `vscode-shell-proxy` as RemoteCommand. ssh takes the rest of that line as it
is, replaces `%` tokens in it (sshd_config(5), TOKENS) and gives it to the user's login shell
on the login node, which may be a POSIX shell, tcsh or fish. Everything here is checked before
it is written: a line break in an argument would be a second ssh option.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address

from vscadmin.errors import UsageError
from vscadmin.escape import printable

PROGRAM = "vscode-shell-proxy"
KEEP_ALIVE = 30  # seconds between ssh's questions whether the other end is still there
KEEP_ALIVE_MISSED = 4  # so many unanswered, and the connection is over: after two minutes

_LONGEST_NAME = 253  # characters of a DNS name, RFC 1035
_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_USER = r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*\$?"
_ADDRESS = r"\[[0-9A-Fa-f:.]+\]"
_JUMP = re.compile(rf"(?:{_USER}@)?(?P<host>{_NAME}|{_ADDRESS})(?::(?P<port>[0-9]+))?")
_FORWARD = re.compile(
    rf"(?:(?P<bind>{_NAME}|{_ADDRESS}|\*):)?(?P<port>[0-9]+)"
    rf":(?P<host>{_NAME}|{_ADDRESS}):(?P<to>[0-9]+)"
)
_PLAIN = re.compile(
    r"[A-Za-z0-9_@+:,./-][A-Za-z0-9_@+=:,./-]*"
)  # these mean themselves in every shell
_PARTS = re.compile(r"[\\'!]|[^\\'!]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One Host block: how to reach the login node, and what the proxy is to be asked for.

    *arguments* are the proxy's; *local_forwards* are spelled as for `ssh -L`, with a host and
    a port. None leaves a line out. Raises UsageError, which names the option that is wrong.
    """

    alias: str
    host_name: str
    user: str | None = None
    port: int | None = None
    proxy_jump: str | None = None
    arguments: tuple[str, ...] = ()
    x11: bool = False
    forward_agent: bool = False
    control_master: bool = False
    local_forwards: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_name("--alias", self.alias)
        _check_host("--host-name", self.host_name)
        if self.user is not None and not re.fullmatch(_USER, self.user):
            raise UsageError(f"--user: {_shown(self.user)} is not a user name")
        if self.proxy_jump is not None:
            _check_jump(self.proxy_jump, self.alias)
        for argument in self.arguments:
            check_text("the proxy's arguments", argument)
        for forward in self.local_forwards:
            _forward(forward)

    @property
    def command(self) -> tuple[str, ...]:
        """The proxy's whole command line."""
        return (PROGRAM, *self.arguments)


def render(host: Host, *, own_file: bool = False) -> str:
    """Return the block as ssh_config(5) spells it, with a line break at its end.

    In an *own_file*, read in place of ~/.ssh/config, that one's hosts and keys are known too.
    """
    lines = (f"    {keyword} {value}\n" for keyword, value in _lines(host) if value is not None)
    rest = "\nMatch all\n    Include ~/.ssh/config\n" if own_file else ""
    return f"Host {host.alias}\n{''.join(lines)}{rest}"


def _lines(host: Host) -> Iterator[tuple[str, str | int | None]]:
    yield "HostName", host.host_name
    yield "Port", host.port
    yield "User", host.user
    yield "ProxyJump", host.proxy_jump
    yield "RemoteCommand", remote_command(host.command)
    yield "RequestTTY", "no"  # a terminal would change the bytes on their way
    yield "ServerAliveInterval", KEEP_ALIVE
    yield "ServerAliveCountMax", KEEP_ALIVE_MISSED
    if host.x11:
        yield "ForwardX11", "yes"
        yield "ForwardX11Trusted", "yes"  # an untrusted display refuses new windows after 20 min
    if host.forward_agent:
        yield "ForwardAgent", "yes"
    if host.control_master:
        yield "ControlMaster", "auto"
        yield "ControlPath", "~/.ssh/vscode-%C"
        yield "ControlPersist", "10m"  # else all windows end with the first one
    for forward in host.local_forwards:
        yield "LocalForward", " ".join(_forward(forward))


def remote_command(argv: Iterable[str]) -> str:
    """Return *argv* as ssh's RemoteCommand takes it: quoted for the shell, `%` doubled."""
    return " ".join(quoted(each) for each in argv).replace("%", "%%")


def quoted(argument: str) -> str:
    r"""Return *argument* as one word of a POSIX shell, of tcsh and of fish alike.

    Within '...' tcsh still replaces `!`, and fish `\\` and `\'`: these three stand outside,
    behind a backslash, where every shell takes them literally.
    """
    if _PLAIN.fullmatch(argument):
        return argument
    parts = (f"\\{part}" if part in "\\'!" else f"'{part}'" for part in _PARTS.findall(argument))
    return "".join(parts) or "''"


def settings(
    host: Host, connect_timeout: int, config_file: str | None = None
) -> Mapping[str, object]:
    """Return what VS Code's settings.json must hold for *host*, by key.

    *connect_timeout* is in seconds, the wait in the queue included. *config_file* is the
    ssh configuration that the editor is to read in place of ~/.ssh/config.
    """
    wanted: dict[str, object] = {
        "remote.SSH.enableRemoteCommand": True,
        "remote.SSH.useLocalServer": True,  # without it the RemoteCommand is not run
        "remote.SSH.enableDynamicForwarding": True,  # else a second ssh, and so a second job
        "remote.SSH.connectTimeout": connect_timeout,
        "remote.SSH.lockfilesInTmp": True,  # homes are shared by nodes that run other servers
    }
    if host.x11:
        wanted["remote.SSH.enableX11Forwarding"] = True
    if host.forward_agent:
        wanted["remote.SSH.enableAgentForwarding"] = True
    if config_file is not None:
        wanted["remote.SSH.configFile"] = check_text("--config-file", config_file)
    return wanted


def check_text(name: str, text: str) -> str:
    """Return *text*; raise UsageError, which says *name*, unless all of it can be printed."""
    if not text.isprintable():
        raise UsageError(f"{name}: {_shown(text)} holds characters that cannot be printed")
    return text


def _shown(text: str) -> str:
    return f'"{printable(text, 80)}"'


def _check_name(name: str, text: str) -> None:
    if not re.fullmatch(_NAME, text) or len(text) > _LONGEST_NAME:
        raise UsageError(
            f"{name}: {_shown(text)} is not a name: letters, digits, '.', '_' and '-', "
            f"at most {_LONGEST_NAME}"
        )


def _check_host(name: str, text: str) -> None:
    if ":" in text or text.startswith("["):
        _check_address(name, text)
    else:
        _check_name(name, text)


def _check_address(name: str, text: str) -> None:
    try:
        if "%" in text:
            raise ValueError
        IPv6Address(text)
    except ValueError:
        raise UsageError(f"{name}: {_shown(text)} is neither a name nor an address") from None


def _check_jump(text: str, alias: str) -> None:
    for hop in text.split(","):
        found = _JUMP.fullmatch(hop)
        if found is None or hop.lower() == "none":
            raise UsageError(
                f"--proxy-jump: {_shown(text)} is not [USER@]HOST[:PORT], or several with commas"
            )
        _check_bracketed("--proxy-jump", found["host"])
        _check_port("--proxy-jump", found["port"] or "22")
        if found["host"] == alias:
            raise UsageError(f"--proxy-jump: {alias} is the alias itself; name another host")


def _forward(text: str) -> tuple[str, str]:
    """Return where ssh listens and what it connects to, both as ssh_config(5) spells them."""
    found = _FORWARD.fullmatch(text)
    if found is None:
        raise UsageError(f"--local-forward: {_shown(text)} is not [BIND:]PORT:HOST:PORT")
    for part in (found["bind"] or "*", found["host"]):
        _check_bracketed("--local-forward", part)
    for port in (found["port"], found["to"]):
        _check_port("--local-forward", port)
    bind = f"{found['bind']}:" if found["bind"] else ""
    return f"{bind}{int(found['port'])}", f"{found['host']}:{int(found['to'])}"


def _check_bracketed(name: str, text: str) -> None:
    if text.startswith("["):
        _check_address(name, text[1:-1])


def _check_port(name: str, text: str) -> None:
    if len(text) > 5 or not 0 < int(text) < 65536:
        raise UsageError(f"{name}: {_shown(text)} is not a port: 1 to 65535")
