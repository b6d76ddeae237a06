"""Keys and homes of a lab: made anew for each, and gone with it."""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path
from typing import Final

from tests.lab.topology import DOMAIN, NODES, USERS

_DISPLAY: Final = "laptop/unix:0"


def write_identities(state: Path) -> None:
    """Write what is secret in the lab below *state*, and every user's homes."""
    files = state / "files"
    _write(files / "cluster/etc/munge/munge.key", secrets.token_bytes(1024))
    host_key = files / "login/etc/ssh/ssh_host_ed25519_key"
    admin_key = files / "laptop/root/.ssh/id_ed25519"
    fleet_key = files / "login/root/.ssh/id_ed25519"  # by which root of one asks the other
    homes = {user: state / "laptop-home" / user.name for user in USERS}
    keys = [host_key, admin_key, fleet_key, *(home / ".ssh/id_ed25519" for home in homes.values())]
    _make_keys(keys)
    _write(files / "login/root/.ssh/authorized_keys", _public(admin_key) + _public(fleet_key))
    for role in ("laptop", "login"):
        _write(files / role / "etc/ssh/ssh_known_hosts", _known_hosts(host_key))
    cookie = secrets.token_hex(16)
    _write_cookie(files / "laptop/etc/lab/xauthority", cookie)
    for user, home in homes.items():
        _write(
            state / "home" / user.name / ".ssh/authorized_keys", _public(home / ".ssh/id_ed25519")
        )
        _write_cookie(home / ".Xauthority", cookie)
        for each in (home, state / "home" / user.name):
            _give(each, user.uid)


def _make_keys(paths: list[Path]) -> None:
    """Make the keys at once: each takes a moment, and they do not wait for each other."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"]
    makers = [subprocess.Popen([*command, str(path)]) for path in paths]
    if sum(maker.wait(30) for maker in makers):
        raise OSError("ssh-keygen cannot make the lab's keys")


def _known_hosts(host_key: Path) -> bytes:
    login = [node for node in NODES if "login" in node.roles]
    names = ["login", *(node.name for node in login)]
    names += [f"{name}.{DOMAIN}" for name in names] + [node.outside for node in login]
    kind, key, _ = _public(host_key).split()
    return b"%s %s %s\n" % (",".join(names).encode(), kind, key)


def _public(key: Path) -> bytes:
    return key.with_name(key.name + ".pub").read_bytes()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _write_cookie(path: Path, cookie: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["xauth", "-q", "-f", str(path), "add", _DISPLAY, "MIT-MAGIC-COOKIE-1", cookie],
        check=True,
        capture_output=True,
    )


def _give(home: Path, uid: int) -> None:
    """Make *home* its user's own, and readable by nobody else."""
    for directory, _, names in os.walk(home):
        os.chown(directory, uid, uid)
        os.chmod(directory, 0o700)
        for name in names:
            os.chown(os.path.join(directory, name), uid, uid)
            os.chmod(os.path.join(directory, name), 0o600)
