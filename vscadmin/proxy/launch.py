"""What one session is to do: everything decided before it starts, and nothing else.

The command line, proxy.toml and the plugins are read by a child that ends at once, so that
their memory is not kept for hours; what it decided reaches the session as these bytes.
"""

from __future__ import annotations

import marshal
from typing import NamedTuple

BOOT = "@BOOT@"
"""Last word of every command; the session puts the text of its boot script in its place."""

RELAY = "relay"
DIRECT = "direct"


class Launch(NamedTuple):
    """One session, ready to start; every value is plain enough for `marshal`.

    A named tuple and no dataclass: whoever starts a session waits for what it imports.
    """

    command: tuple[str, ...]
    """The launcher's whole argv; the last word is `BOOT`."""
    environment: dict[str, str]
    """Environment of the launcher process: the login environment and what goes through it."""
    job_is_ours: bool
    """This session makes the job, so it may end it; False in an allocation that exists."""
    uses_slurm: bool
    """False for a plain shell on this machine."""
    mode: str
    """RELAY or DIRECT."""
    direct_allowed: bool
    """A compute node without a usable Python may be served in direct mode."""
    direct_bind: str
    """What the editor's server binds to in direct mode: "node" (its own address) or "any"."""
    relay_address: str
    """The login node's address that the agent dials; "" is the one the step names."""
    relay_ports: tuple[int, int]
    """First and last port the dial-back listener may take; (0, 0) is any."""
    pythons: tuple[str, ...]
    """Interpreters on the compute node to be tried first, absolute paths or names."""
    listen_host: str
    listen_port: int
    """Where the client's listener is; port 0 is any that is free."""
    backlog: int
    byte_limit: int
    """Bytes moved at once for one connection."""
    shell: tuple[str, ...]
    """What the shell in the job is started with: a container's command, or nothing."""
    job_environment: dict[str, str | None]
    """Set in the job, whatever the launcher passes on; None unsets."""
    forwards: tuple[tuple[str, str], ...]
    """(variable, unix socket of the login node): reachable in the job, named by the variable."""
    x11: bool
    """Slurm forwards X11, so DISPLAY in the job is Slurm's and stays."""
    log_file: str
    """Absolute path, "" for none; "[PID]" is already replaced, here and in *tee*."""
    tee: tuple[str, str, str]
    """Files that get a copy of stdin, stdout and stderr; "" for none."""
    verbosity: int
    """-v counted, less -q; 0 is the usual."""
    contact: str
    """Whom users ask, as it stands after "please tell"."""
    session: str
    """Eight hexadecimal digits; the job's comment names it."""
    notes: tuple[str, ...]
    """Lines for the user before anything starts."""

    def dump(self) -> bytes:
        """Return the bytes that `load` reads back, by the same Python on the same machine."""
        return marshal.dumps(tuple(self))


def load(data: bytes) -> Launch:
    """Read what `Launch.dump` wrote; never bytes of anybody else."""
    return Launch(*marshal.loads(data))  # noqa: S302 - our own child's, through our own pipe
