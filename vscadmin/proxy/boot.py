"""What the launcher starts on the compute node: a script that says hello and becomes the agent.

The script prints the hello (a mark that nothing else prints, then the facts), and does nothing
before it is answered: only then do the agent's source and the key follow on its stdin. On a
node without a Python that the agent can use the hello says so, and the answer may be to go on
with the shell alone.

The script is an argument of the launcher's, which every user of both nodes may read. So the
mark is no secret, and nothing relies on its being one; what is set in the job comes on stdin.
"""

from __future__ import annotations

import marshal
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import MAGIC_NUMBER
from typing import NamedTuple

from vscadmin.proxy.shell import INSIDE, quoted

# The modules of the agent, each after those that it imports; the last one is started.
MODULES = (
    "loop",
    "stream",
    "signals",
    "descriptors",
    "coercion",
    "acceptor",
    "wire",
    "link",
    "carrier",
    "pair",
    "relay",
    "shell",
    "forwards",
    "servers",
    "reach",
)
_MAIN = "agent"
_PLACES = ("/usr/bin/python3", "/usr/libexec/platform-python", "python3")
_UNUSABLE = "99|126|127"  # too old, not to be executed, or without its libraries: try the next
_LONGEST = 1 << 16  # bytes of noise (a TaskProlog's) before a hello
_HELLO = re.compile(rb"([\w.:%-]+) ([\w.-]+) (\d+|-) ([\w.:%-]+) ([0-9a-f]{8}|none)\r?\n")

# Reads exactly its source, and not a byte of what the client sends after it.
_STARTER = """
import os,sys
if sys.version_info<(3,6):sys.exit(99)
import socket
def own(to):
    try:
        s=socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET,socket.SOCK_DGRAM)
        s.connect((to,9))
        return s.getsockname()[0]
    except OSError:
        return "-"
e=os.environ.get
a=e("SLURM_LAUNCH_NODE_IPADDR") or "127.0.0.1"
import _frozen_importlib_external as f
m="%08x"%int.from_bytes(f.MAGIC_NUMBER,"big")
h=" ".join((sys.argv[1],a,os.uname()[1],e("SLURM_JOB_ID") or "-",own(a),m))
os.write(1,h.encode()+b"\\n")
def take(n):
    b=b""
    while len(b)<n:
        c=os.read(0,n-len(b))
        if not c:sys.exit(69)
        b+=c
    return b
n=b""
while not n.endswith(b" "):n+=take(1)
import marshal
text,modules,order=marshal.loads(take(int(n)))
exec(text)
"""

# POSIX sh. $0 is the mark; each of the arguments may be a Python. The answer is read to the last
# of its lines and no further (POSIX has `read` take single bytes): the client's stdin follows.
_SCRIPT = """
for p; do
  command -v "$p" >/dev/null 2>&1 || continue
  "$p" -I -S -c '{starter}' "$0"
  s=$?
  case $s in {unusable}) ;; *) exit $s ;; esac
done
a=${{SLURM_LAUNCH_NODE_IPADDR:-127.0.0.1}}
o=$(ip -o route get "$a" 2>/dev/null | sed -n 's/.* src \\([^ ]*\\).*/\\1/p')
printf '%s %s %s %s %s none\\n' "$0" "$a" "$(uname -n)" "${{SLURM_JOB_ID:--}}" "${{o:--}}"
answer() {{
  IFS= read -r said && [ "${{said% *}}" = "$0" ] || return
  n=${{said##* }}
  while [ "$n" -gt 0 ] && IFS= read -r line; do
    printf '%s\\n' "$line"
    n=$((n - 1))
  done
  [ "$n" -eq 0 ]
}}
answer=$(answer) || exit 69
unset SLURM_MPI_TYPE
for v in $(env | sed -n 's/^\\(SLURM_CPU_BIND[A-Z_]*\\)=.*/\\1/p'); do unset $v; done
eval "$answer"
u=$(getent passwd "$(id -u)" 2>/dev/null | cut -d: -f7)
for each in "$u" "$SHELL" /bin/sh; do
  case $each in */nologin | */false) continue ;; esac
  [ -f "$each" ] && [ -x "$each" ] && break
done
SHELL=$each
export SHELL
cd "${{HOME:-/}}" 2>/dev/null || cd /
login=$SHELL
case $login in *csh) # which closes 3 and 4
  login=/bin/sh
  echo "vscode-shell-proxy: without Python here, the profile of $SHELL is not run" >&2
esac
"$login" -l -c "$1" 3<&0 4>&1 </dev/null >&2
printf '\\001%s %s\\n' "$0" $?
"""
# What follows the profile there, in a POSIX shell; its arguments are a container's command.
_AFTER_PROFILE = 'exec <&3 >&4 3<&- 4>&-; [ $# -eq 0 ] || exec "$@"; ' + INSIDE[-1]


class Hello(NamedTuple):
    """What the compute node says of itself."""

    login_address: str
    """Address of the login node, as the job knows it."""
    node: str
    job: int | None
    address: str
    """The compute node's own address on the way to the login node; "-" is not known."""
    python: int | None
    """Magic number of its Python's compiled code; None where there is no Python from 3.6 on."""


class HelloReader:
    """Finds the hello in the first output of a step, behind whatever a prolog printed."""

    def __init__(self, mark: bytes) -> None:
        self._mark = mark + b" "
        self._seen = b""

    def feed(self, data: bytes) -> tuple[Hello, bytes] | None:
        """Return the hello and what follows it, or None as long as it is not there.

        Raises ValueError where so much else came that no hello will.
        """
        self._seen += data
        if match := self._find():
            address, node, job, own, python = (field.decode("ascii") for field in match.groups())
            number = int(job) if job != "-" else None
            magic = int(python, 16) if python != "none" else None
            hello = Hello(address, node, number, own, magic)
            return hello, self._seen[match.end() :]
        if len(self._seen) > _LONGEST:
            raise ValueError("output of the job's prolog has no end")
        return None

    def _find(self) -> re.Match[bytes] | None:
        """Look behind every mark: a wrapper may show the command line, which has one as well."""
        start = self._seen.find(self._mark)
        while start >= 0:
            if match := _HELLO.match(self._seen, start + len(self._mark)):
                return match
            start = self._seen.find(self._mark, start + 1)
        return None


class TrailerReader:
    """Finds the status that a shell without an agent leaves behind its output.

    It begins with a byte that is no text, so that nothing of the shell's is held back.
    """

    def __init__(self, mark: bytes) -> None:
        self._start = b"\001" + mark + b" "
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Return the shell's output in *data*."""
        self._held += data
        end = self._held.find(self._start)
        if end < 0:
            end = self._held.rfind(b"\001")
            if end < 0 or not self._start.startswith(self._held[end:]):
                end = len(self._held)
        output, self._held = self._held[:end], self._held[end:]
        return output

    @property
    def status(self) -> int | None:
        """The status, as soon as it is there: the end is later where srun left a child behind."""
        _, start, line = self._held.partition(self._start)
        number, newline, _ = line.partition(b"\n")  # it may come in pieces
        number = number.strip()
        return int(number) if start and newline and number.isdigit() else None

    def end(self) -> tuple[bytes, int | None]:
        """Return what was output after all, and the status if there was one."""
        status = self.status
        return (self._held, None) if status is None else (b"", status)


def script(mark: str, pythons: Iterable[str]) -> list[str]:
    """Return the arguments of `/bin/sh` that start a session's other end.

    *pythons* are tried before the usual ones.
    """
    text = _SCRIPT.format(starter=_STARTER.strip(), unusable=_UNUSABLE)
    return ["-c", text, mark, *pythons, *_PLACES]


def answer_without_agent(
    mark: str, environment: Mapping[str, str | None], shell: Sequence[str]
) -> bytes:
    """Return the answer to the hello of a node without Python: go on with the shell alone.

    *environment* sets names, None unsets them; *shell* is what the shell is started with. The
    mark and a number are followed by so many lines, which the script evaluates.
    """
    words = (_AFTER_PROFILE, "sh", *shell, *(INSIDE if shell else ()))
    inside = " ".join(["exec /bin/sh -c", *map(quoted, words)])  # for all shells but csh
    orders = [
        f"unset {name}" if value is None else f"export {name}={quoted(value)}"
        for name, value in environment.items()
    ]
    text = "\n".join([*orders, f"set -- {quoted(inside)}"])
    return os.fsencode(f"{mark} {text.count(chr(10)) + 1}\n{text}\n")


_LOADER = """
import sys, types
def module(name, is_compiled, data):
    made = sys.modules[name] = types.ModuleType(name)
    exec(marshal.loads(data) if is_compiled else compile(data, name, "exec"), made.__dict__)
    return made
module("vscadmin", False, ""); module("vscadmin.proxy", False, "")
for each in modules: made = module(*each)
made.main(made.Order(**order))
"""
_OLD_MARSHAL = 2  # the version that every Python 3 reads


def agent_source(order: Mapping[str, object], magic: int | None = None) -> bytes:
    """Return what the starter wants: a length, and the agent with its order.

    A Python of our own version (*magic*) gets the modules compiled: they are 2,000 lines.
    """
    modules = agent_modules(magic == int.from_bytes(MAGIC_NUMBER, "big"))
    data = marshal.dumps((_LOADER, modules, dict(order)), _OLD_MARSHAL)
    return b"%d " % len(data) + data


@cache
def agent_modules(is_compiled: bool) -> tuple[tuple[str, bool, bytes], ...]:
    """Return names and texts of the agent's modules, or their code.

    Read once and early: it does not hold up a hello, and an upgrade meanwhile changes nothing.
    """
    modules = []
    for name in (*MODULES, _MAIN):
        path = os.path.join(os.path.dirname(__file__), f"{name}.py")
        loader = SourceFileLoader(f"vscadmin.proxy.{name}", path)
        code = loader.get_code(loader.name) if is_compiled else None
        data = marshal.dumps(code) if code is not None else loader.get_data(path)
        modules.append((loader.name, code is not None, data))
    return tuple(modules)
