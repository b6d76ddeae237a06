"""The user's shell in the job: the login shell runs its profile, then becomes bash.

The profile gets /dev/null for stdin and our stderr for stdout: it may read and print what it
likes. Only the shell after it sees the client's stdin, and only what that one writes is output.

Runs on the compute node: standard library of Python 3.6 only.
"""

import errno
import os
import pwd
import signal

from vscadmin.proxy.coercion import as_given
from vscadmin.proxy.descriptors import restore_file_limit
from vscadmin.proxy.loop import Loop, Timer
from vscadmin.proxy.signals import restore
from vscadmin.proxy.stream import Flow, Outlet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from vscadmin.proxy.descriptors import Limits

_PROFILE = 60.0  # s a profile may take: module systems on a busy file system need ten
_LEFT_OUTPUT = 0.1  # s to wait for what is still in the pipes once the shell has ended
_LOOKS = 10  # how often, while something comes
_NOT_STARTED = 69  # EX_UNAVAILABLE
_FALLBACK = "/bin/sh"
_NO_SHELLS = ("nologin", "false")

# What runs after the profile, in a POSIX shell: the client's stdin and stdout come back, from
# the agent's /proc entries (csh closes descriptors), else as 3 and 4 (where /proc is another
# container's). One line and no single quote: it is quoted for bash, csh and fish alike.
_AFTER_PROFILE = (
    "if [ -p /proc/{pid}/fd/{stdin} ]; "
    "then exec </proc/{pid}/fd/{stdin} >/proc/{pid}/fd/{stdout}; else exec <&3 >&4; fi; "
    "exec 3<&- 4>&-; printf %s {mark}; "
    "[ $# -eq 0 ] || exec {quote}$@{quote}; "
    "if command -v bash >/dev/null 2>&1; then exec bash; fi; exec sh"
)
# What a container or another wrapper runs in place of that last line.
INSIDE = ("/bin/sh", "-c", "if command -v bash >/dev/null 2>&1; then exec bash; fi; exec sh")


def status_of(waited: int) -> int:
    """Return an exit status as shells do: 128 + the signal for what a signal ended."""
    return 128 + os.WTERMSIG(waited) if os.WIFSIGNALED(waited) else os.WEXITSTATUS(waited)


class Shell:
    """One shell, from its start to the last byte of its output.

    *ended* gets its exit status; *say* lines for the user.
    """

    def __init__(
        self,
        loop: Loop,
        ended: "Callable[[int], None]",
        say: "Callable[[str], None]",
        *,
        mark: bytes,
        environment: "Mapping[str, str]",
        prefix: "Sequence[str]",
        limits: "Limits",
    ) -> None:
        self._loop = loop
        self._mark = mark
        self._environment = dict(environment)
        self._prefix = tuple(prefix)
        self._limits = limits
        self._ended = ended
        self._say = say
        self._seen = b""
        self._is_marked = False
        self._status: int | None = None
        self._open = 2
        self._pid = 0
        self._patience: Timer | None = None
        self._is_plain = False
        self.outlets = (Outlet(loop, 1), Outlet(loop, 2))

    def start(self) -> None:
        """Start the login shell."""
        self._stdout, self._out = os.pipe()
        stderr, self._err = os.pipe()
        for fd in (self._stdout, stderr):
            os.set_blocking(fd, False)  # what it is ready for, `reap` may have drained
        self._flows = (
            Flow(self._loop, self._stdout, self.outlets[0], self._output, self._closed),
            Flow(self._loop, stderr, self.outlets[1], lambda data: data, self._closed),
        )
        for flow in self._flows:
            flow.inlet.resume()
        self._patience = self._loop.later(_PROFILE, self._too_long)
        self._run(_login_command(self._environment, self._command()))

    def _command(self) -> str:
        text = _AFTER_PROFILE.format(
            pid=os.getpid(), stdin=0, stdout=self._out, mark=self._mark.decode(), quote='"'
        )
        inside = [*self._prefix, *INSIDE] if self._prefix else []
        return " ".join(["exec /bin/sh -c", *map(quoted, [text, "sh", *inside])])

    def _run(self, argv: "Sequence[str]") -> None:
        try:
            self._pid = os.fork()
        except OSError as error:
            self._not_started(error)
            return
        if not self._pid:
            self._become(argv)

    def _not_started(self, error: OSError) -> None:
        """End at once, as a user has no room for a process here."""
        reason = error.strerror
        if error.errno == errno.EAGAIN:
            reason = f"you have too many processes on {os.uname().nodename} (ulimit -u)"
        self._say(f"no shell could be started: {reason}")
        self._let_go()
        self._status = _NOT_STARTED
        self._loop.later(_LEFT_OUTPUT, self._finish)

    def _become(self, argv: "Sequence[str]") -> None:
        try:
            restore()
            restore_file_limit(self._limits)
            os.setsid()
            os.dup2(0, 3)
            os.dup2(self._out, 4)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(self._err, 1)
            os.dup2(self._err, 2)
            for fd in (3, 4):
                os.set_inheritable(fd, True)
            program = self._environment["SHELL"] if argv[0].startswith("-") else argv[0]
            environment = {_bytes(key): _bytes(each) for key, each in self._environment.items()}
            _go_home(environment[b"HOME"])
            os.execve(_bytes(program), list(map(_bytes, argv)), environment)  # noqa: S606
        except Exception as error:  # nothing of it may go on as a second agent
            line = f"vscode-shell-proxy: {argv[0]}: {getattr(error, 'strerror', error)}\n"
            os.write(2, line.encode("utf-8", "backslashreplace"))
        finally:
            os._exit(127)

    def _output(self, data: bytes) -> bytes:
        """Swallow all before the mark: nothing but the shell after the profile is output."""
        if self._is_marked:
            return data
        self._seen += data
        _, mark, rest = self._seen.partition(self._mark)
        if not mark:
            return b""
        self._is_marked = True
        self._seen = b""
        self._let_go()
        return rest

    def _let_go(self) -> None:
        """Close our ends of the pipes, now that the shell has its own."""
        if self._patience is not None:
            self._patience.cancel()
        os.close(self._out)
        os.close(self._err)
        os.dup2(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), 0)

    def _too_long(self) -> None:
        self._say(f"your shell's profile took longer than {_PROFILE:.0f} s: it was stopped")
        os.killpg(self._pid, signal.SIGKILL)

    def reap(self) -> None:
        """Take note of the shell's end, if it has ended; call this at SIGCHLD."""
        if self._status is not None or not self._pid:
            return
        pid, waited = os.waitpid(self._pid, os.WNOHANG)
        if not pid:
            return
        for flow in self._flows:
            flow.inlet.drain()
        if not self._is_marked and not self._is_plain:
            self._without_profile(status_of(waited))
            return
        if not self._is_marked:
            self._let_go()
        self._status = status_of(waited)
        self._await_rest(_LOOKS)
        self._maybe_finish()

    def _await_rest(self, looks: int) -> None:
        """Let those that have its output write on, as in `exec > >(tee log)`, for a second."""
        taken = sum(outlet.taken for outlet in self.outlets)

        def look() -> None:
            if not all(outlet.is_empty for outlet in self.outlets):  # the client takes its time
                self._await_rest(looks)
            elif looks and taken != sum(outlet.taken for outlet in self.outlets):
                self._await_rest(looks - 1)
            else:
                self._finish()

        self._loop.later(_LEFT_OUTPUT, look)

    def _without_profile(self, status: int) -> None:
        """Go on where a profile ended the shell (`exec zsh` does, with nothing to read)."""
        self._is_plain = True
        shell = self._environment["SHELL"]
        self._say(f"your profile ended {shell} (status {status}); going on without it")
        self._run([_FALLBACK, "-c", self._command()])

    def _closed(self) -> None:
        self._open -= 1
        self._maybe_finish()

    def _maybe_finish(self) -> None:
        if self._status is not None and self._open == 0:
            self._finish()

    def _finish(self) -> None:
        ended, self._ended = self._ended, lambda _status: None
        for flow in self._flows:
            flow.inlet.drain()
            flow.inlet.close()
        assert self._status is not None  # noqa: S101 - for the type checker
        ended(self._status)

    def end(self, number: int) -> bool:
        """Signal every process of the shell's session; return whether there was one.

        Terminals of the editor have sessions of their own, and hear of it from the server
        that goes.
        """
        members = _members(self._pid) if self._pid else []
        for pid in members:
            try:
                os.kill(pid, number)
            except OSError:  # it was faster, or became another user's
                continue
        return bool(members)


def login_environment(
    environment: "Mapping[str, str]", job: "Mapping[str, str | None]"
) -> "dict[str, str]":
    """Return the step's environment as a login has it; *job* sets names, None unsets them.

    What is unset always: what srun's own options left for an inner srun (--mpi, --cpu-bind).
    """
    made = {
        name: value
        for name, value in as_given(environment).items()
        if name != "SLURM_MPI_TYPE" and not name.startswith("SLURM_CPU_BIND")
    }
    try:
        user = pwd.getpwuid(os.getuid())
        home, name, shell = user.pw_dir, user.pw_name, user.pw_shell
    except KeyError:  # the node does not know the user: what it was given has to do
        home, name, shell = "/", str(os.getuid()), ""
    made.setdefault("HOME", home)
    made.setdefault("USER", name)
    made.setdefault("LOGNAME", name)
    made["SHELL"] = _first_usable(shell, made.get("SHELL", ""))
    for key, value in job.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = value
    return made


def _first_usable(*shells: str) -> str:
    """Return the first that runs commands: compute nodes may have nologin in their passwd."""
    for each in shells:
        is_one = os.path.basename(each) not in _NO_SHELLS and os.path.isfile(each)
        if is_one and os.access(each, os.X_OK):
            return each
    return _FALLBACK


def _login_command(environment: "Mapping[str, str]", command: str) -> "list[str]":
    """Return argv of a login shell: its name begins with a dash, for bash, csh, zsh and fish."""
    return ["-" + os.path.basename(environment["SHELL"]), "-c", command]


def _go_home(home: bytes) -> None:
    """Where a login begins; a home that is not there must not keep the shell from starting."""
    try:
        os.chdir(home)
    except OSError:
        os.chdir("/")


def _bytes(text: str) -> bytes:
    """Return it for an argument or the environment, also where the node's locale cannot."""
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:  # Python 3.6 in the C locale
        return text.encode("utf-8", "surrogateescape")


def quoted(word: str) -> str:
    """Return one word for sh, bash, csh and fish; csh wants it without a line break."""
    return "'" + word.replace("'", "'\\''") + "'"


def _members(session: int) -> "list[int]":
    return [
        int(name)
        for name in os.listdir("/proc")
        if name.isdigit() and _session_of(int(name)) == session and _is_alive(name)
    ]


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _is_alive(pid: str) -> bool:
    """Tell whether it is more than a zombie, which waits for a parent that has no time."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return not file.read().rpartition(b")")[2].startswith(b" Z")
    except OSError:
        return False
