"""The agent: the proxy's other half, in the job, on the compute node.

It dials back to the proxy (in direct mode it is dialled), starts the user's shell, dials the
editor's server for each connection of the client, and sees to it that nothing outlives the
session: when the control connection ends it ends the shell, and the job, where that is ours.

It is sent as source and kept on no disk: standard library of Python 3.6 only.
"""

import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress

from vscadmin.proxy import wire
from vscadmin.proxy.descriptors import raise_file_limit
from vscadmin.proxy.forwards import Forwards
from vscadmin.proxy.link import Control, read_backend, read_exactly, tcp
from vscadmin.proxy.loop import Loop
from vscadmin.proxy.reach import Reach
from vscadmin.proxy.relay import Relay
from vscadmin.proxy.shell import Shell, login_environment
from vscadmin.proxy.signals import Signals, restore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

NO_CONTROL = 69  # EX_UNAVAILABLE: proxy and agent did not come together
_UNUSABLE = (99, 126, 127)  # what the boot script takes for a Python that did not start
_TOGETHER = 20.0  # s for proxy and agent to come together
_STRANGERS = 16  # who have yet to prove the key; more send the oldest away
_BACKLOG = 128
_PAUSE = 0.01  # s between two looks at what only takes a moment
_BUG = 1
_LONGEST_TRACE = 1 << 14  # bytes
_NOT_STARTED = -1
_CANCELLED = 3600.0  # s Slurm may take to hear that the job is to end: slurmctld may be away
_AGAIN = 1.0, 16.0  # s after which it is told again: at first, and later
_GRACE = 0.1  # s from SIGTERM to SIGKILL for what is left of the shell


class Order:
    """What the proxy wants: plain values, they come as Python text behind the source."""

    def __init__(
        self,
        *,
        key: bytes,
        mark: str,
        address: str,
        port: int,
        environment: "Mapping[str, str | None]",
        shell: "Sequence[str]",
        forwards: "Sequence[str]",
        scancel: bool,
    ) -> None:
        self.key = key
        self.mark = mark.encode()
        self.address = address  # relay: the proxy's; direct: our own
        self.port = port  # 0: direct, the proxy dials us
        self.environment = environment
        self.shell = shell
        self.forwards = forwards
        self.scancel = scancel


def main(order: Order) -> None:
    """Run a session's agent; its exit status is the shell's, or 1 where that would mislead."""
    try:
        control = _dial_back(order) if order.port else _be_dialled(order)
    except OSError as error:
        node = os.uname().nodename
        way = (
            f"{node} cannot reach {order.address}:{order.port}"
            if order.port
            else (f"nobody came from the login node to {order.address}")
        )
        _say_here(f"{way}: {error.strerror or error}")
        sys.exit(NO_CONTROL)
    try:
        status = Agent(order, control).run()
    except Exception:  # the last line of defence: the user's terminal is no place for it
        import traceback  # noqa: PLC0415 - only here

        words = traceback.format_exc().encode("utf-8", "backslashreplace")
        with suppress(OSError):  # nobody may be there any more
            control.setblocking(True)
            control.sendall(wire.frame(wire.BUG, words[-_LONGEST_TRACE:]))
        status = _BUG
    sys.exit(1 if status in _UNUSABLE else status)


def _dial_back(order: Order) -> socket.socket:
    connection = socket.create_connection((order.address, order.port), _TOGETHER)
    said = wire.greeting(wire.CONTROL)
    connection.sendall(wire.greet(order.key, said))
    if not wire.is_answer(order.key, said, read_exactly(connection, wire.PROOF_SIZE)):
        raise OSError(0, "who answers there is not the proxy")
    return connection


def _be_dialled(order: Order) -> socket.socket:
    """Listen on the node's own address, say where on stdout, and take the first who proves."""
    family = socket.AF_INET6 if ":" in order.address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind((order.address, 0))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
        os.write(1, b"%s %d\n" % (order.mark, listener.getsockname()[1]))
        return _first_proven(order.key, listener)


def _first_proven(key: bytes, listener: socket.socket) -> socket.socket:
    """Return who proves the key first; strangers hold nobody up, however slowly they talk."""
    heard = {}  # type: dict[socket.socket, bytes]
    end = time.monotonic() + _TOGETHER
    try:
        while time.monotonic() < end:
            left = max(0.0, end - time.monotonic())
            for each in select.select([listener, *heard], (), (), left)[0]:
                if each is listener:
                    _let_in(listener, heard)
                elif each in heard and _has_proven(key, each, heard):
                    del heard[each]
                    return each
    finally:
        for stranger in heard:
            stranger.close()
    raise OSError(0, "none of who came was the proxy")


def _let_in(listener: socket.socket, heard: "dict[socket.socket, bytes]") -> None:
    try:
        newcomer = listener.accept()[0]
    except OSError:  # it has gone again
        return
    if len(heard) == _STRANGERS:
        _send_away(next(iter(heard)), heard)
    heard[newcomer] = b""


def _has_proven(key: bytes, who: socket.socket, heard: "dict[socket.socket, bytes]") -> bool:
    """Read on in a greeting, and answer one that proves the key; who cannot is sent away."""
    try:
        more = who.recv(wire.GREETING_SIZE - len(heard[who]))
        heard[who] += more
        if more and len(heard[who]) < wire.GREETING_SIZE:
            return False
        said = wire.read_greeting(key, heard[who])
        if said is not None and said.kind == wire.CONTROL:
            who.sendall(wire.answer(key, said))
            return True
    except OSError:  # it was reset
        pass
    _send_away(who, heard)
    return False


def _send_away(who: socket.socket, heard: "dict[socket.socket, bytes]") -> None:
    del heard[who]
    who.close()


class Agent:
    """One session on the compute node."""

    def __init__(self, order: Order, control: socket.socket) -> None:
        self._order = order
        self._loop = Loop()
        self._relay = Relay(self._loop)
        self._control = Control(self._loop, control, self._received, self._lost)
        home = tcp(order.address, order.port)
        self._reach = Reach(self._loop, self._relay, order.key, home, self._failed)
        self._wanting: dict[int, socket.socket] = {}
        self._forwards = self._forwarding(order.forwards)
        job = dict(order.environment)
        job.update(self._forwards.environment)
        environment = login_environment(os.environ, job)
        self._shell = Shell(
            self._loop,
            self._shell_ended,
            self._say,
            mark=order.mark,
            environment=environment,
            prefix=order.shell,
            limits=raise_file_limit(),
        )
        self._status = NO_CONTROL
        self._cancels = 0  # pid of a scancel
        self._is_given_up = False
        callbacks: dict[int, Callable[[int], None]] = {signal.SIGCHLD: self._reap}
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            callbacks[number] = self._signalled
        Signals(self._loop, callbacks)

    def _forwarding(self, variables: "Sequence[str]") -> Forwards:
        """Make the sockets that lead back; a node without room for them has none."""
        try:
            return Forwards(self._loop, variables, self._wanted)
        except OSError as error:
            names = " and ".join(variables)
            self._say(f"{names} cannot be forwarded: {error.filename}: {error.strerror}")
            return Forwards(self._loop, (), self._wanted)

    def run(self) -> int:
        """Serve until the shell or the control connection ends; return the exit status."""
        self._shell.start()
        self._loop.run()
        self._forwards.close()  # first: it leaves something behind, and the step may be ending
        self._relay.close_all()
        self._sweep()
        self._control.close()
        self._see_the_job_cancelled()
        return self._status

    def _received(self, kind: int, payload: bytes) -> None:
        ident, rest = payload[: wire.IDENT_SIZE], payload[wire.IDENT_SIZE :]
        if kind == wire.OPEN:
            self._reach.open(ident, read_backend(rest))
        elif kind == wire.GO:
            number, _ = wire.read_numbers(rest)
            if number in self._wanting:
                self._reach.dial_home(ident, self._wanting.pop(number))
        elif kind == wire.GONE:
            number, _ = wire.read_numbers(payload)
            if number in self._wanting:
                self._wanting.pop(number).close()
        elif kind == wire.END:
            self._give_up()

    def _wanted(self, index: int, connection: socket.socket) -> None:
        """Ask for the other end of a forwarded connection."""
        number = connection.fileno()
        self._wanting[number] = connection
        self._control.send(wire.WANT, wire.numbers(number, index))

    def _failed(self, ident: bytes, words: str) -> None:
        self._control.send(wire.FAILED, ident + words.encode("utf-8", "backslashreplace"))

    def _say(self, line: str) -> None:
        self._control.send(wire.SAY, line.encode("utf-8", "backslashreplace"))

    def _lost(self, _reason: str) -> None:
        self._give_up()

    def _signalled(self, _number: int) -> None:
        self._give_up()

    def _give_up(self) -> None:
        """End everything: the job first, before anything that could end us."""
        self._is_given_up = True
        self._loop.stop()
        if self._order.scancel and not self._cancels:
            self._cancels = _ask_for_the_jobs_end()

    def _see_the_job_cancelled(self) -> None:
        """Stay until Slurm was told: our end would take a scancel that is under way along.

        A cancel that worked ends us, too.
        """
        end = time.monotonic() + _CANCELLED
        pause = _AGAIN[0]
        while self._cancels and time.monotonic() < end:
            pid, waited = (0, 1)
            if self._cancels != _NOT_STARTED:
                pid, waited = os.waitpid(self._cancels, os.WNOHANG)
            if waited:
                time.sleep(pause)
                pause = min(2 * pause, _AGAIN[1])
                self._cancels = _ask_for_the_jobs_end()
            elif pid:
                return
            else:
                time.sleep(_PAUSE)

    def _reap(self, _number: int) -> None:
        self._shell.reap()

    def _shell_ended(self, status: int) -> None:
        if self._is_given_up:  # it ended by that, and not by itself
            return
        if not all(outlet.is_empty for outlet in self._shell.outlets):
            self._loop.later(_PAUSE, lambda: self._shell_ended(status))
            return
        out, err = (outlet.written for outlet in self._shell.outlets)
        self._status = status
        self._control.send(wire.EXIT, wire.exit_payload(status, out, err))
        self._loop.stop()

    def _sweep(self) -> None:
        """End what is left of the shell's session, as the end of a job would."""
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGCONT):
            self._shell.end(number)
        end = time.monotonic() + _GRACE
        while self._shell.end(0) and time.monotonic() < end:
            time.sleep(_PAUSE)
        self._shell.end(signal.SIGKILL)


def _ask_for_the_jobs_end() -> int:
    """Have a process of its own run scancel; return its pid, 0 where there is no job.

    _NOT_STARTED where the node has no room for a process now.
    """
    job = os.environ.get("SLURM_JOB_ID", "")
    if not job:
        return 0
    try:
        pid = os.fork()
    except OSError:
        return _NOT_STARTED
    if pid:
        return pid
    try:
        restore()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # comes to all of the step by its work
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.execvp("scancel", ["scancel", "--quiet", job])  # noqa: S606 - no shell is needed
    finally:
        os._exit(127)


def _say_here(line: str) -> None:
    """Tell the user by the step's stderr: there is no control connection."""
    os.write(2, f"vscode-shell-proxy: {line}\n".encode("utf-8", "backslashreplace"))
