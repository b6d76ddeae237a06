"""`vscode-shell-proxy`: prepare a session in a child, then carry it.

The process that stays for hours imports little: what reads the command line, proxy.toml and
the plugins is a child that ends before the session begins. See docs/adr/0008.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # whatever is imported here is waited for twice: see below
if TYPE_CHECKING:
    from typing import NoReturn

    from vscadmin.errors import VscadminError
    from vscadmin.proxy.launch import Launch

_NAME = "vscode-shell-proxy"


def main() -> NoReturn:
    """Run a session; argv holds the path that was called, then the user's own arguments."""
    _open_what_is_closed()
    invoked_as, *argv = sys.argv[1:]
    try:
        prepared = _in_a_child(invoked_as, argv)
        sys.exit(prepared if isinstance(prepared, int) else _carried(prepared))
    except KeyboardInterrupt:  # before the session hears of signals by itself
        sys.exit(130)


def _carried(prepared: Launch) -> int:
    """Carry the session, and say what went wrong."""
    from vscadmin.errors import VscadminError  # noqa: PLC0415 - not before the child began

    try:
        return _carry(prepared)
    except VscadminError as error:
        return _refused(error)
    except Exception as error:  # the last line of defence
        return _bug(error)


def _open_what_is_closed() -> None:
    """Put /dev/null where stdin, stdout or stderr was closed: no pipe of ours may land there."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free


def _in_a_child(invoked_as: str, argv: list[str]) -> Launch | int:
    """Return what is to be done, or the exit status where that was all."""
    reader, writer = os.pipe()
    try:
        pid = os.fork()
    except OSError as error:
        from vscadmin.proxy.child import words  # noqa: PLC0415 - rare

        return _no_room(words(error))
    if not pid:
        os.close(reader)
        status = 1  # a bug
        try:
            status = _prepare(invoked_as, argv, writer)
        finally:
            os._exit(status)
    os.close(writer)
    _import_until(reader)
    from vscadmin.proxy.launch import load  # noqa: PLC0415 - as above

    with os.fdopen(reader, "rb") as result:
        data = result.read()
    _, waited = os.waitpid(pid, 0)
    if data:
        return load(data)
    if os.WIFSIGNALED(waited):
        return _no_room(f"the session could not be prepared: killed by signal {waited & 0x7F}")
    return os.WEXITSTATUS(waited)


def _import_until(reader: int) -> None:
    """Import what a session needs for as long as the child has nothing to say yet."""
    from importlib import import_module  # noqa: PLC0415 - all of this is done meanwhile
    from select import select  # noqa: PLC0415

    for name in (
        "launcher",
        "journal",
        "link",
        "listener",
        "dialback",
        "relay",
        "stdio",
        "session",
    ):
        import_module(f"vscadmin.proxy.{name}")
        if select([reader], [], [], 0)[0]:
            return


def _prepare(invoked_as: str, argv: list[str], writer: int) -> int:
    """Read everything there is to read and write the launch to *writer*, in the child."""
    from vscadmin.errors import Exit, VscadminError  # noqa: PLC0415 - as are all here

    try:
        from vscadmin.proxy.coercion import as_given  # noqa: PLC0415
        from vscadmin.proxy.prepare import Said, prepare  # noqa: PLC0415 - only in the child

        stdout = _kept_from_plugins()
        prepared = prepare(argv, invoked_as, as_given(os.environ), pid=os.getppid())
        if isinstance(prepared, Said):
            with os.fdopen(stdout, "w") as output:
                output.write(prepared.text)
            if prepared.warning:
                print(f"{_NAME}: warning: {prepared.warning}", file=sys.stderr)
            return prepared.exit_code
        with os.fdopen(writer, "wb") as result:
            result.write(prepared.dump())
    except VscadminError as error:
        return _refused(error)
    except BrokenPipeError:
        return Exit.DONE
    except Exception as error:  # the last line of defence
        return _bug(error)
    return Exit.DONE


def _kept_from_plugins() -> int:
    """Keep the client's script and its output from programs that plugins start; return stdout."""
    stdout = os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.dup2(2, 1)
    return stdout


def _carry(launch: Launch) -> int:
    """Start the launcher, then import what is left while it starts the job."""
    from vscadmin.errors import Exit  # noqa: PLC0415 - not before the child began, as all here
    from vscadmin.proxy.child import words  # noqa: PLC0415
    from vscadmin.proxy.journal import Journal  # noqa: PLC0415
    from vscadmin.proxy.launcher import start  # noqa: PLC0415

    journal = Journal(launch.log_file, launch.verbosity, launch.tee)
    try:
        launcher = start(launch)
    except OSError as error:
        journal.fail(f"the job could not be started: {words(error)}")
        return Exit.NO_BACKEND
    from vscadmin.proxy.session import Session  # noqa: PLC0415

    scheduler = None
    if launch.uses_slurm:
        from vscadmin.slurm.watching import Watching  # noqa: PLC0415

        scheduler = Watching()
    return Session(launch, launcher, journal, scheduler).run()


def _no_room(words: str) -> int:
    from vscadmin.errors import Exit  # noqa: PLC0415 - rare

    print(f"{_NAME}: {words}", file=sys.stderr)
    return Exit.NO_BACKEND


def _refused(error: VscadminError) -> int:
    for line in str(error).splitlines():
        print(f"{_NAME}: {line}", file=sys.stderr)
    return error.exit_code


def _bug(error: Exception) -> int:
    from vscadmin.errors import Exit  # noqa: PLC0415 - rare

    try:
        from vscadmin.logs import log_bug  # noqa: PLC0415 - structlog costs 0.1 s, bugs are rare

        where = log_bug(error)
    except Exception:  # no descriptor is left to read a module by, or that is the bug
        where = ""
    seen = f"; the details are in {where}" if where else ""
    print(f"{_NAME}: a bug: {type(error).__name__}{seen}. Please report it.", file=sys.stderr)
    return Exit.BUG
