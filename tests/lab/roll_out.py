"""The admin's side of a roll-out: ansible-playbook over ssh to nodes that have nothing yet."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.lab import state
from tests.lab.cluster import Cluster
from tests.lab.errors import LabError
from tests.lab.machine import PATH
from tests.lab.node import Node
from tests.lab.software import CHECKOUT

ANSIBLE: Final = CHECKOUT / "ansible"
PYTHON: Final = "/usr/bin/python3"

_COMMAND: Final = os.path.join(os.path.dirname(sys.executable), "ansible-playbook")
_CACHE: Final = CHECKOUT / ".cache" / "roll-out"
_SOURCES: Final = ("vscadmin", "site-plugins", "pyproject.toml", "README.md", "LICENSE")
_BUNDLE_OF: Final = (*_SOURCES, ".ci/constraints.txt", "ansible/bundle.sh")
_SECONDS: Final = 240
_RECAP: Final = re.compile(r"(?m)^(\w+) +: ok=\d+ +changed=(\d+) +unreachable=(\d+) +failed=(\d+)")
_BARE: Final = """
rm -f /etc/pip.conf
umount /opt/vscadmin && rmdir /opt/vscadmin
rm /usr/local/bin/vscadmin /usr/local/bin/vscode-shell-proxy
"""


@dataclass(frozen=True, slots=True)
class Played:
    """What a run of a playbook said, and for each node how many tasks changed something there."""

    code: int
    said: str
    changed: dict[str, int]

    @property
    def refusal(self) -> str:
        """What the tasks that failed said."""
        lines = [line for line in self.said.splitlines() if "msg" in line or "ERROR" in line]
        return " ".join(lines)


class Controller:
    """The machine that playbooks run on: this one, as it would be on the campus network.

    It keeps to *folder*. *settings* are variables of both login nodes.
    """

    def __init__(self, cluster: Cluster, folder: Path, **settings: Any) -> None:
        self.cluster = cluster
        self.folder = folder
        secrets = state.STATE / cluster.name / "files" / "laptop"
        options = f"-o UserKnownHostsFile={secrets}/etc/ssh/ssh_known_hosts -o BatchMode=yes"
        usual = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(secrets / "root/.ssh/id_ed25519"),
            "ansible_ssh_common_args": options,
            "ansible_python_interpreter": PYTHON,
            "vscadmin_python": PYTHON,
        }
        hosts = {node.name: {"ansible_host": node.spec.outside} for node in cluster.login_nodes}
        inventory = {"login": {"hosts": hosts, "vars": {**usual, **settings}}}
        (folder / "inventory.json").write_text(json.dumps(inventory))

    def play(self, name: str, *options: str, **variables: Any) -> Played:
        """Run one of our playbooks to its end on both nodes at once."""
        return self._run(f"playbooks/{name}.yml", *options, **variables)

    def role(self, name: str, *options: str, **variables: Any) -> Played:
        """Run a playbook as a site writes its own: with one of our roles, on login1."""
        facts = ["!all", "!min", "service_mgr"]
        play = {"name": name, "hosts": "login1", "gather_subset": facts, "roles": [name]}
        playbook = self.folder / "own.json"
        playbook.write_text(json.dumps([play]))
        return self._run(str(playbook), *options, **variables)

    def _run(self, playbook: str, *options: str, **variables: Any) -> Played:
        extra = json.dumps({"vscadmin_serial": "100%", **variables})
        command = [_COMMAND, "-i", str(self.folder / "inventory.json"), "-e", extra, *options]
        done = subprocess.run(
            [*self.on_campus(), *command, playbook],
            **self._surroundings(),
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        said = done.stdout + done.stderr
        return Played(done.returncode, said, {n: int(c) for n, c, _, _ in _RECAP.findall(said)})

    def on_campus(self) -> list[str]:
        """Return what begins a command that runs on this machine and on the laptop's network."""
        return ["nsenter", f"--net=/proc/{self.cluster.laptop.pid}/ns/net", "--"]

    def _surroundings(self) -> dict[str, Any]:
        home = str(self.folder)
        env = {"PATH": PATH, "HOME": home, "LANG": "C.UTF-8", "PIP_NO_BUILD_ISOLATION": "0"}
        own = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": f"{home}/.ansible"}
        return {"cwd": ANSIBLE, "env": {**env, **own}, "stdin": subprocess.DEVNULL}


def strip(node: Node) -> None:
    """Take from *node* the software that the lab shows to every one, and the machine's index."""
    node.run("sh", "-ec", _BARE)


def bundle() -> Path:
    """Return what `make bundle` makes; made once for each state of the sources.

    Raises LabError where a package index cannot be had.
    """
    target = _CACHE / f"bundle-{_digest()}"
    if not target.is_dir():
        shutil.rmtree(_CACHE, ignore_errors=True)
        command = [str(ANSIBLE / "bundle.sh"), str(target), sys.executable]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LabError(f"no bundle: {done.stderr.strip().rpartition(chr(10))[2]}")
    return target


def sources(folder: Path, version: str) -> Path:
    """Lay out in *folder* a checkout of the project whose version is *version*."""
    for name in _SOURCES:
        source, target = CHECKOUT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    text = f'"""The one place that states the version."""\n\n__version__ = "{version}"\n'
    (folder / "vscadmin" / "version.py").write_text(text)
    return folder


def bundle_of(checkout: Path, target: Path) -> Path:
    """Make in *target* a bundle of another *checkout*, which needs what ours needs."""
    shutil.copytree(bundle(), target)
    for old in target.glob("vscadmin-*"):
        old.unlink()
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(build, cwd=checkout, check=True, capture_output=True)
    wheels = sorted(target.glob("*.whl"))
    sums = (f"{hashlib.sha256(each.read_bytes()).hexdigest()}  {each.name}\n" for each in wheels)
    (target / "SHA256SUMS").write_text("".join(sums))
    return target


def index_of(*bundles: Path, target: Path) -> Path:
    """Lay out in *target* the pages of a package index (PEP 503) with the wheels of *bundles*.

    A directory's listing by a web server is the page of a project.
    """
    wheels = {wheel.name: wheel for each in bundles for wheel in each.glob("*.whl")}
    for name, wheel in wheels.items():
        project = re.sub("[-_.]+", "-", name.partition("-")[0]).lower()
        (target / project).mkdir(exist_ok=True, parents=True)
        (target / project / name).symlink_to(wheel)
    return target


def _digest() -> str:
    digest = hashlib.sha256()
    for name in _BUNDLE_OF:
        top = CHECKOUT / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(os.fsencode(path.relative_to(CHECKOUT)) + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
