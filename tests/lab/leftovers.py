"""What else there is on login nodes: servers with odd members, jobs, namespaces, bystanders."""

from __future__ import annotations

from tests.lab.cluster import Cluster
from tests.run import eventually

OTHER_COMMIT = "fedcba9876543210fedcba9876543210fedcba98"

# A server's names, its node a copy of a shell: nobody can connect, and it lasts.
_LAY_OUT = """
set -e
folder=$HOME/.vscode-server/bin/$1
mkdir -p "$folder/bin" "$folder/out"
cp /bin/sh "$folder/node"
printf '%s\\n' "$2" 'while :; do sleep 3600; done' >"$folder/out/server-main.js"
launch='"%s/node" "%s/out/server-main.js" "$@"\\nexit\\n'
printf "$launch" "$folder" "$folder" >"$folder/bin/code-server"
"""
_START = (
    "nohup sh ~/.vscode-server/bin/{commit}/bin/code-server --start-server "
    ">/dev/null 2>&1 </dev/null &"
)


def lookalike(
    cluster: Cluster, user: str, host: str, body: str = ":", commit: str = OTHER_COMMIT
) -> int:
    """Leave a server on *host* whose node runs the shell commands *body*; return its root's pid."""
    node = cluster[host]
    node.run("sh", "-c", _LAY_OUT, "sh", commit, body, user=user)
    cluster.ssh(user, host, _START.format(commit=commit))
    launcher = f"bin/{commit}/bin/code-server --start-server"
    eventually(lambda: node.pids(f"{commit}/out/server-main.js", user=user), bool)
    return eventually(lambda: node.pids(launcher, user=user), bool)[0]


def with_tmux(cluster: Cluster, user: str, host: str) -> int:
    """Leave a server with a tmux client in the editor's terminal."""
    body = "script -qfc 'tmux -L lab new-session \"sleep 3600\"' /dev/null >/dev/null 2>&1 &"
    pid = lookalike(cluster, user, host, f"TERM=xterm {body}")
    eventually(lambda: cluster[host].pids("tmux -L lab new-session", user=user), bool)
    return pid


def with_root_shell(cluster: Cluster, user: str, host: str) -> tuple[int, int]:
    """Leave a server with a shell of root's inside, as sudo makes one; return both pids."""
    node = cluster[host]
    node.run("install", "-m", "4755", "/bin/bash", "/usr/local/bin/rootsh")
    pid = lookalike(cluster, user, host, "/usr/local/bin/rootsh -p -c 'sleep 7200; :' &")
    # Until its child is sleep, it is called the same.
    (shell,) = eventually(lambda: node.pids("rootsh -p -c"), lambda found: len(found) == 1)
    return pid, shell


def bystanders(cluster: Cluster, user: str, host: str) -> list[int]:
    """Start things of the user's that have nothing to do with a server but its names."""
    node = cluster[host]
    node.write(f"/home/{user}/notes-on-vscode-server.txt", "x", user=user)
    commands = (
        "sleep 5000",
        "tail -f notes-on-vscode-server.txt",
        f"tail -f /home/{user}/.vscode-server/.started.log",
    )
    cluster.ssh(
        user, host, f"mkdir -p .vscode-server; touch .vscode-server/.started.log; {_all(commands)}"
    )
    return [eventually(lambda each=each: node.pids(each, user=user), bool)[0] for each in commands]  # type: ignore[misc]


def _all(commands: tuple[str, ...]) -> str:
    return " ".join(f"nohup {each} >/dev/null 2>&1 </dev/null &" for each in commands)
