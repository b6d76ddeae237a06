"""Start a lab's nodes, connect them, and wait until every daemon answers."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.lab import cgroups, mounts
from tests.lab.errors import LabError
from tests.lab.machine import PATH
from tests.lab.node import JOIN, Node
from tests.lab.software import CHECKOUT
from tests.lab.state import STATE
from tests.lab.topology import NODES, NodeSpec

SWITCH: Final = "switch"
INIT: Final = Path(__file__).with_name("init.sh").resolve()

_READY_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.005
_SHOWN: Final = 300
_SWITCH_SCRIPT: Final = (
    "read -r pid _ </proc/self/stat; echo $pid; read -r go && exec sleep infinity"
)
_NAMESPACES: Final = ("--net", "--pid", "--mount", "--uts", "--ipc", "--cgroup")
_ONLY_V2: Final = "; only cgroup version 2 is mounted here, and Slurm in the lab is untested on it"


def start(lab: str, software: Path, specs: Sequence[NodeSpec]) -> dict[str, Node]:
    """Start all nodes, and return them once they are ready; else LabError names what is not."""
    with _explained(lab):
        nodes = _start(lab, software, specs)
        deadline = time.monotonic() + _READY_SECONDS
        for node in nodes.values():
            _await_ready(node, deadline)
    return nodes


def _start(lab: str, software: Path, specs: Sequence[NodeSpec]) -> dict[str, Node]:
    """Start all nodes, connect them once their namespaces are there, and let them go on."""
    server = _vscode_server()
    with ExitStack() as stack:  # whatever is started stays when we end, but our ends of its pipes
        switch = _spawn(lab, SWITCH, stack, "sh", "-c", _SWITCH_SCRIPT)
        waiting = {spec: _spawn_node(lab, spec, stack, software, server) for spec in specs}
        pids = {spec: _pid(spec.name, process) for spec, process in waiting.items()}
        _wire(_pid(SWITCH, switch), pids)
        _let_go(SWITCH, switch)
        for spec, process in waiting.items():
            _let_go(spec.name, process)
    for spec, pid in pids.items():
        _await_init(spec.name, pid)
    return {spec.name: Node.of(lab, spec, pid) for spec, pid in pids.items()}


def _vscode_server() -> Path | None:
    from tests.integration.vscode import server  # noqa: PLC0415 - it needs psutil, down does not

    return found.parent if (found := server.installed()) else None


def _spawn_node(
    lab: str, spec: NodeSpec, stack: ExitStack, software: Path, server: Path | None
) -> subprocess.Popen[bytes]:
    settings = {
        "LAB_NODE": spec.name,
        "LAB_ROLES": " ".join(spec.roles),
        "LAB_INSIDE": spec.inside,
        "LAB_OUTSIDE": spec.outside,
        "LAB_HOME": spec.home,
        "LAB_STATE": str(STATE / lab),
        "LAB_FILES": str(INIT.with_name("root")),
        "LAB_SOFTWARE": str(software) if spec.serves_users else "",
        "LAB_VSCODE": str(server) if server and spec.serves_users else "",
        "LAB_CGROUPS": " ".join(cgroups.for_slurm(cgroups.hierarchies())),
        "LAB_MOUNTS": " ".join(mounts.system_folders(mounts.mounted())),
    }
    return _spawn(lab, spec.name, stack, "sh", str(INIT), **settings)


def _spawn(
    lab: str, node: str, stack: ExitStack, *command: str, **settings: str
) -> subprocess.Popen[bytes]:
    """Start *command* in the node's cgroups and in namespaces of its own; *stack* lets it go."""
    cgroups.make(lab, node)
    namespaces = ["unshare", "--fork", "--kill-child", *_NAMESPACES, "--", *command]
    with (STATE / lab / "nodes" / f"{node}.log").open("ab") as log:
        process = subprocess.Popen(
            [*JOIN, *cgroups.joins(lab, node), "--", *namespaces],
            env={"PATH": PATH, **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,
            start_new_session=True,
            cwd="/",
        )
    process.returncode = 0  # not ours to wait for
    assert process.stdin is not None
    assert process.stdout is not None
    stack.enter_context(process.stdin)
    stack.enter_context(process.stdout)
    return process


def _pid(node: str, process: subprocess.Popen[bytes]) -> int:
    """Return the pid that a starting node says it has."""
    assert process.stdout is not None
    said = process.stdout.readline()
    if not said.strip().isdigit():
        raise LabError(f"{node} could not get namespaces of its own")
    return int(said)


def _let_go(node: str, process: subprocess.Popen[bytes]) -> None:
    """Tell a node that waits for its network to go on."""
    assert process.stdin is not None
    try:
        process.stdin.write(b"go\n")
    except BrokenPipeError:
        raise LabError(f"{node} ended before it had a network") from None


def _await_init(node: str, pid: int) -> None:
    """Wait until the node has its own root: its first process is tini only then."""
    deadline = time.monotonic() + _READY_SECONDS
    with suppress(FileNotFoundError, ProcessLookupError):
        while time.monotonic() < deadline:
            if Path(f"/proc/{pid}/comm").read_text() == "tini\n":
                return
            time.sleep(_POLL_SECONDS)
    raise LabError(f"{node} did not start")


def _wire(switch: int, nodes: dict[NodeSpec, int]) -> None:
    """Connect the *nodes* to two bridges in the network namespace of *switch*."""
    batch = [f"link add {bridge} type bridge" for bridge in ("inside", "outside")]
    batch += [f"link set {bridge} up" for bridge in ("inside", "outside")]
    for spec, pid in nodes.items():
        for bridge, address in (("inside", spec.inside), ("outside", spec.outside)):
            port = f"{spec.name}-{bridge[0]}"
            if address:
                batch.append(f"link add {port} type veth peer name {bridge} netns {pid}")
                batch.append(f"link set {port} master {bridge} up")
    enter = ["nsenter", f"--net=/proc/{switch}/ns/net", "ip", "-batch", "-"]
    done = subprocess.run(
        enter, input="\n".join(batch), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise LabError(f"the lab's network cannot be made: {_in_one_line(done.stderr)}")


def _await_ready(node: Node, deadline: float) -> None:
    """Wait until every daemon of *node* answers."""
    seconds = f"{max(deadline - time.monotonic(), 0.1):.1f}"
    done = node.run("timeout", seconds, "sh", "/etc/lab/ready", check=False)
    if done.returncode != 0:
        awaited = node.run("cat", "/run/lab-awaited", check=False).stdout.strip() or "start"
        v2 = cgroups.for_slurm(cgroups.hierarchies()) == [cgroups.V2]
        why = _ONLY_V2 if v2 and awaited.startswith("slurm") else ""
        raise LabError(f"{node.name}: no {awaited} within {_READY_SECONDS:.0f} s{why}")


@contextmanager
def _explained(lab: str) -> Iterator[None]:
    """Save what the nodes have logged when they do not start: their logs go with them."""
    try:
        yield
    except LabError as error:
        starts = {path.stem: path.read_text(errors="replace") for path in _start_logs(lab)}
        said = _in_one_line(starts.get(str(error).split()[0].strip(":"), ""))
        saved = _save_logs(lab, starts)
        raise LabError(f"{error}{said and f': {said}'}; logs: {saved}") from error


def _start_logs(lab: str) -> list[Path]:
    return sorted((STATE / lab / "nodes").glob("*.log"))


def _save_logs(lab: str, starts: dict[str, str]) -> Path:
    """Write what the nodes logged where it outlives them."""
    logs = {f"{node}:start": text for node, text in starts.items()}
    for spec in NODES:
        if found := Node.find(lab, spec):
            with suppress(LabError, subprocess.TimeoutExpired):
                logs |= {f"{spec.name}:{name}": text for name, text in found.logs().items()}
    path = CHECKOUT / ".cache" / "lab" / f"{lab}-failed.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"==> {title}\n{text}\n" for title, text in logs.items()))
    return path


def _in_one_line(text: str) -> str:
    return " ".join(text.split())[-_SHOWN:]
