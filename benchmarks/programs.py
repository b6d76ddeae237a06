"""What the crowd runs: scripts for the shell, in the places and with the arguments of real ones."""

from __future__ import annotations

import hashlib
import os
import shutil

USERS = 100
TREES = 200
TREE_SIZE = 6
SESSION_SIZE = 10

_HOLD = "read -r _\n"
_LAUNCHER = 'ROOT=${0%/bin/*}\n"$ROOT/node" "$ROOT/out/server-main.js" "$@"\nexit\n'
_CHILDREN = (
    "--type=extensionHost --transformURIs --useHostProxy=false",
    "--type=fileWatcher",
    '--type=ptyHost --logsPath "$ROOT/data/logs/20260101T101010"',
    "--type=agentHost",
)
_SERVER = (
    "exec 3<&0\nROOT=${0%/out/*}\n"
    + "".join(f'"$ROOT/node" "$ROOT/out/bootstrap-fork" {each} <&3 &\n' for each in _CHILDREN)
    + "wait\n"
)
_SERVER_OPTIONS = (
    "--start-server --host=127.0.0.1 --accept-server-license-terms --enable-remote-auto-shutdown"
    " --port=0 --telemetry-level all --connection-token-file"
)
# A session's programs. The first argument is the script that waits; none is a server's.
_JOBS = (
    "python3 train.py --config=configs/base.yaml --epochs=300 --seed=17 --data=/scratch/images",
    "python3 preprocess.py --input /project/raw --output /scratch/clean --workers 4",
    "vim notes-on-vscode-server.txt",
    "tail .vscode-server/.log",
    "R fit.R --no-save --no-restore --args model=mixed iterations=20000",
    "julia simulate.jl --threads=2 --project=.",
    "tmux main new-session -s work",
    "rsync results --archive --partial --info=progress2 /scratch/results/ archive:/results/",
    "ssh-agent socket -a /run/agent",
)
_DAEMONS = ("chronyd", "rsyslogd", "sshd", "rpcbind", "munged", "slurmd", "sssd_nss", "automount")


def name_of(user: int) -> str:
    """Return a user's name."""
    return f"bench{user:03d}"


def install(folder: str) -> None:
    """Write every program and script below *folder*."""
    shell = os.path.join(folder, "bin", "sh")
    os.makedirs(os.path.dirname(shell))
    shutil.copy("/bin/sh", shell)
    for program in {job.split()[0] for job in _JOBS}:
        os.link(shell, os.path.join(folder, "bin", program))
    for name in _DAEMONS:
        _write(_daemon(folder, name), _HOLD)
    for user in range(USERS):
        _furnish(_home(folder, user), os.path.join(folder, "bin"))
    for tree in range(TREES):
        root = _server_root(folder, tree)
        _write(os.path.join(root, "bin", "code-server"), _LAUNCHER)
        _write(os.path.join(root, "out", "server-main.js"), _SERVER)
        _write(os.path.join(root, "out", "bootstrap-fork"), _HOLD)
        os.link(shell, os.path.join(root, "node"))


def _furnish(home: str, programs: str) -> None:
    """Write what a user's session runs: its jobs in the background."""
    lines = ["exec 3<&0"]
    for job in _JOBS:
        program, script, *arguments = job.split()
        _write(os.path.join(home, script), _HOLD)
        lines.append(" ".join((f"{programs}/{program}", f"{home}/{script}", *arguments, "<&3 &")))
    _write(os.path.join(home, "session.sh"), "\n".join((*lines, "wait\n")))


def server(folder: str, tree: int) -> list[str]:
    """Return the command line of a server's launcher."""
    root = _server_root(folder, tree)
    token = f"{os.path.dirname(os.path.dirname(root))}/.{os.path.basename(root)}.token"
    return ["sh", os.path.join(root, "bin", "code-server"), *_SERVER_OPTIONS.split(), token]


def session(folder: str, user: int) -> list[str]:
    """Return the command line of a user's session, SESSION_SIZE processes."""
    return ["bash", os.path.join(_home(folder, user), "session.sh")]


def daemon(folder: str, number: int) -> list[str]:
    """Return the command line of one of root's daemons, a single process."""
    name = _DAEMONS[number % len(_DAEMONS)]
    return [f"/usr/sbin/{name}", _daemon(folder, name), f"--instance={number}"]


def _daemon(folder: str, name: str) -> str:
    return os.path.join(folder, "etc", f"{name}.conf")


def _home(folder: str, user: int) -> str:
    return os.path.join(folder, "home", name_of(user))


def _server_root(folder: str, tree: int) -> str:
    commit = hashlib.sha256(str(tree).encode()).hexdigest()[:40]
    return os.path.join(_home(folder, tree % USERS), ".vscode-server", "bin", commit)


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
