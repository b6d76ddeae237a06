"""One session: from the launcher's start to the last byte of the shell in the job.

Every way it can end leads to the same end: what was started is stopped, the job is cancelled
where it is ours, and the exit status is the shell's, or says that there is none.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

from vscadmin.errors import Exit
from vscadmin.proxy import boot, link, wire
from vscadmin.proxy.ask import Asker
from vscadmin.proxy.child import Children, Guardian
from vscadmin.proxy.connections import Complaints, Straight, ThroughAgent
from vscadmin.proxy.dialback import DialBack
from vscadmin.proxy.ending import Ending
from vscadmin.proxy.journal import Journal
from vscadmin.proxy.launch import DIRECT, Launch
from vscadmin.proxy.launcher import Launcher, job_environment
from vscadmin.proxy.listener import Listener, ListenError
from vscadmin.proxy.loop import Loop
from vscadmin.proxy.queue import Queue, Scheduler
from vscadmin.proxy.relay import Relay
from vscadmin.proxy.report import Report
from vscadmin.proxy.rewrite import Backend, Tcp, Unix
from vscadmin.proxy.signals import Signals
from vscadmin.proxy.stdio import Callbacks, Stdio

_TOGETHER = 30.0  # s from the hello until the agent has to be there
_ENDING = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
# What the client is told where there is no way: its own port number may be somebody else's here.
_NOWHERE = Tcp("127.0.0.1", 1)
_LOOPBACKS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where "any" is dialled


class Session:
    """Carries out one `Launch`. *scheduler* is None for a shell on this machine."""

    def __init__(
        self,
        launch: Launch,
        launcher: Launcher,
        journal: Journal,
        scheduler: Scheduler | None,
    ) -> None:
        self._launch = launch
        self._journal = journal
        self._launcher = launcher
        self._key = os.urandom(wire.KEY_SIZE)
        self._loop = Loop()
        self._children = Children()
        asker = Asker(self._loop, self._children, launch.environment)
        self._queue = Queue(self._loop, asker, journal, scheduler)
        self._queue.job_known = self._job_known
        self._relay = Relay(self._loop, launch.byte_limit)
        self._complaints = Complaints(journal)
        self._ending = Ending(self._loop, launch, launcher.pid, journal, self._queue)
        told = Callbacks(
            hello=self._hello,
            port=self._agent_listens,
            listen=self._listen,
            gone=self._ending.client_gone,
            stderr=self._queue.read_stderr,
            stderr_ended=self._queue.end_stderr,
            fail=self._ending.fail,
        )
        self._stdio = Stdio(self._loop, journal, launcher.mark.encode(), told)
        self._ending.of(self._stdio)
        self._report = Report(self._loop, self._relay, launch.session)
        self._environment = job_environment(launch)
        self._listeners: dict[Backend, Listener] = {}
        self._dialback: DialBack | None = None
        self._control: link.Control | None = None
        self._ways: ThroughAgent | Straight | None = None
        self._address = ""

    # Beginning.

    def run(self) -> int:
        """Carry the session to its end; return the exit status."""
        callbacks: dict[int, Callable[[int], None]] = {signal.SIGCHLD: self._children.reap}
        callbacks |= dict.fromkeys(_ENDING, self._ending.signalled)
        Signals(self._loop, callbacks)
        self._children.add(self._launcher.pid, self._ending.launcher_ended)
        self._guardian = Guardian(self._launch.environment)
        self._guardian.remove(os.fsencode(self._report.path))
        self._journal.info(f"launcher: {' '.join(self._launch.command)}")
        for line in self._launch.notes:
            self._journal.tell(line)
        self._stdio.connect(self._launcher.stdin, self._launcher.stdout, self._launcher.stderr)
        for is_compiled in (True, False):  # which of them it will be the hello says
            boot.agent_modules(is_compiled)
        self._loop.later(0, self._children.reap)  # it may have ended before we heard of signals
        self._loop.run()
        self._close()
        status = self._ending.status
        return Exit.NO_BACKEND if status is None else status

    def _job_known(self, job: int) -> None:
        if self._launch.job_is_ours:
            self._guardian.cancel(job)
        self._report.set(job=job)

    def _hello(self, hello: boot.Hello) -> None:
        self._journal.info(f"hello from {hello}")
        self._address = hello.address
        self._queue.runs(hello.job, hello.node)
        self._report.set(node=hello.node)
        if self._ending.is_on:
            return
        if hello.python is None:
            self._without_agent(hello.node)
        elif self._launch.mode == DIRECT:
            self._stdio.expect_port()
            self._order(hello.address, 0, hello.python)
        else:
            self._expect_agent(self._launch.relay_address or hello.login_address, hello.python)

    def _expect_agent(self, address: str, python: int) -> None:
        """Relay mode: the agent dials us."""
        try:
            self._dialback = DialBack(
                self._loop,
                address,
                self._launch.relay_ports,
                self._key,
                authenticated=self._together,
                strange=self._journal.warning,
            )
        except ListenError as error:
            self._ending.fail(f"no listener for the job to come back to: {error}")
            return
        self._order(address, self._dialback.port, python)

    def _order(self, address: str, port: int, python: int) -> None:
        launch = self._launch
        order = {
            "key": self._key,
            "mark": self._launcher.mark,
            "address": address,
            "port": port,
            "environment": self._environment,
            "shell": launch.shell,
            "forwards": tuple(variable for variable, _ in launch.forwards),
            "scancel": launch.job_is_ours,
        }
        self._stdio.order(boot.agent_source(order, python))
        self._loop.later(_TOGETHER, self._not_together)

    def _not_together(self) -> None:
        if self._control is None and not self._ending.is_on:
            self._ending.fail(
                f"nothing came back from the job within {_TOGETHER:.0f} s of its start"
            )

    def _agent_listens(self, port: int) -> None:
        """Direct mode: we dial the agent."""

        def dialled(result: socket.socket | OSError) -> None:
            if isinstance(result, OSError):
                reason = result.strerror or result
                self._ending.fail(
                    f"the compute node's {self._address}:{port} is out of reach: {reason}"
                )
            else:
                said = wire.greeting(wire.CONTROL)
                link.introduce(self._loop, self._key, said, result, introduced)

        def introduced(far: socket.socket, is_agent: bool) -> None:
            if is_agent:
                self._together(far)
            else:
                self._ending.fail("who listens on the compute node is not the agent")

        link.dial(self._loop, link.tcp(self._address, port), dialled)

    def _together(self, connection: socket.socket) -> None:
        """Let the client speak: the control connection stands, the shell starts."""
        self._control = link.Control(self._loop, connection, self._received, self._ending.lost)
        self._ending.control = self._control
        if self._dialback is not None:
            self._ways = ThroughAgent(
                self._loop, self._relay, self._dialback, self._control, self._complaints
            )
            self._stdio.open_stdin()
        else:
            self._go_straight()

    def _go_straight(self) -> None:
        self._ways = Straight(self._loop, self._relay, self._complaints, self._address)
        is_any = self._launch.direct_bind == "any"
        try:
            self._stdio.open_stdin("0.0.0.0" if is_any else self._address)  # noqa: S104 - as asked
        except ValueError:  # the node could not tell
            self._ending.fail(
                f"the compute node has no address that can be reached: {self._address}"
            )

    def _without_agent(self, node: str) -> None:
        reason = f"{node} has no Python from 3.6 on that the proxy could use"
        if not self._launch.direct_allowed:
            self._ending.fail(f"{reason}; please tell {self._launch.contact}")
            return
        self._journal.info(f"{reason}: direct mode, without an agent")
        for variable, _ in self._launch.forwards:
            self._journal.tell(f"{variable} is not set in the job: {reason}")
        self._stdio.expect_trailer()
        self._stdio.order(
            boot.answer_without_agent(self._launcher.mark, self._environment, self._launch.shell)
        )
        self._go_straight()

    # Running.

    def _received(self, kind: int, payload: bytes) -> None:
        if kind == wire.EXIT:
            status, output, _ = wire.read_exit(payload)
            self._ending.shell_ended(status, output)
        elif kind == wire.BUG:
            self._bug(payload.decode("utf-8", "backslashreplace"))
        elif kind == wire.SAY:
            self._journal.tell(payload.decode("utf-8", "backslashreplace"))
        elif isinstance(self._ways, ThroughAgent) and kind == wire.FAILED:
            reason = payload[wire.IDENT_SIZE :].decode("utf-8", "backslashreplace")
            self._ways.failed(payload[: wire.IDENT_SIZE], reason)
        elif isinstance(self._ways, ThroughAgent) and kind == wire.WANT:
            number, index = wire.read_numbers(payload)
            if index < len(self._launch.forwards):
                self._ways.forward(number, self._launch.forwards[index][1])

    def _bug(self, trace: str) -> None:
        self._journal.info(trace)
        seen = "" if self._launch.log_file else "; -l FILE -vv keeps the details"
        last = trace.strip().rpartition("\n")[2]
        self._ending.fail(
            f"a bug in the job's half of the session: {last}{seen}. Please report it."
        )

    def _listen(self, announced: Backend) -> Backend:
        """Return where the client finds the server that was announced."""
        if announced not in self._listeners:
            backend = self._dialled_as(announced)
            if backend is None:
                return _NOWHERE
            ways = self._ways
            assert ways is not None  # noqa: S101 - there is output only after it was set
            try:
                listener = Listener(
                    self._loop,
                    self._bind_for(announced),
                    self._launch.backlog,
                    lambda client: ways.open(client, backend),
                    self._journal.tell,
                )
            except ListenError as error:
                self._ending.fail(f"no listener for the editor: {error}")
                return _NOWHERE
            self._listeners[announced] = listener
            if isinstance(listener.address, bytes):
                self._guardian.remove(listener.address)
        where = self._listeners[announced].address
        return Unix(where) if isinstance(where, bytes) else Tcp(*where)

    def _bind_for(self, announced: Backend) -> tuple[str, int] | None:
        """Return where to listen; None is a unix socket in a directory of ours."""
        if isinstance(announced, Unix):
            return None
        is_first = not any(isinstance(each, Tcp) for each in self._listeners)
        return self._launch.listen_host, self._launch.listen_port if is_first else 0

    def _dialled_as(self, announced: Backend) -> link.Backend | None:
        if isinstance(self._ways, ThroughAgent):
            if isinstance(announced, Unix):
                return link.unix(announced.path)
            return link.tcp(_loopback(announced.host), announced.port)
        if isinstance(announced, Unix):
            self._journal.tell(
                "the editor's server listens on a unix socket, which direct mode cannot reach; "
                'set "remote.SSH.remoteServerListenOnSocket": false'
            )
            return None
        return link.tcp(self._address, announced.port)

    def _close(self) -> None:
        for number in _ENDING:  # it is over: a second one must not change the status
            signal.signal(number, signal.SIG_IGN)
        for listener in self._listeners.values():
            listener.close()
        if self._dialback is not None:
            self._dialback.close()
        self._relay.close_all()
        self._report.close()
        self._stdio.close()


def _loopback(host: str) -> str:
    """Return the address the agent dials: a name is this machine's, as an editor means it."""
    host = _LOOPBACKS.get(host, host)
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.inet_pton(family, host)
            return host
    return "127.0.0.1"
