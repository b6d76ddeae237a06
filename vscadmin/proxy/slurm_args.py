"""The arguments of salloc and srun, read as Slurm reads them.

A site's limits and a few checks need to know what `-p devel`, `-pdevel`, `--partition=devel`
and `--part devel` ask for. The tables are those of salloc(1) and srun(1), 22.05 to 25.11; the
two share every short option.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SHORT = {
    "A": "account", "b": "begin", "B": "extra-node-info", "c": "cpus-per-task",
    "C": "constraint", "d": "dependency", "D": "chdir", "e": "error", "F": "nodefile",
    "G": "gpus", "i": "input", "J": "job-name", "L": "licenses", "m": "distribution",
    "M": "clusters", "n": "ntasks", "N": "nodes", "o": "output", "p": "partition", "q": "qos",
    "r": "relative", "S": "core-spec", "t": "time", "T": "threads", "w": "nodelist",
    "W": "wait", "x": "exclude",
    "I": "immediate", "k": "no-kill", "K": "kill-command",
    "E": "preserve-env", "h": "help", "H": "hold", "l": "label", "O": "overcommit",
    "Q": "quiet", "s": "oversubscribe", "u": "unbuffered", "v": "verbose", "V": "version",
    "X": "disable-status", "Z": "no-allocate",
}  # fmt: skip
_MAY_HAVE_A_VALUE = _names(
    "bcast compress exclusive get-user-env immediate kill-command kill-on-bad-exit nice no-kill "
    "oom-kill-step propagate resv-ports send-libs x11"
)
_WITHOUT_A_VALUE = _names(
    "bell contiguous disable-status exact help hold interactive label multi-prog no-allocate "
    "no-bell no-shell overcommit overlap oversubscribe preserve-env pty quiet quit-on-interrupt "
    "reboot spread-job stepmgr test-only unbuffered usage use-min-nodes verbose version "
    "wait-for-children"
)
_WITH_A_VALUE = _names(
    "accel-bind account acctg-freq bb bbf bcast-exclude begin chdir cluster cluster-constraint "
    "clusters comment constraint container container-id core-spec cores-per-socket cpu-bind "
    "cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot dependency distribution epilog error "
    "exclude export extra extra-node-info gid gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket "
    "gpus-per-task gres gres-flags het-group hint input job-name jobid licenses mail-type "
    "mail-user mcs-label mem mem-bind mem-per-cpu mem-per-gpu mincpus mpi msg-timeout network "
    "nodefile nodelist nodes ntasks ntasks-per-core ntasks-per-gpu ntasks-per-node "
    "ntasks-per-socket open-mode output partition power prefer priority profile prolog qos "
    "relative reservation segment signal slurmd-debug sockets-per-node switches task-epilog "
    "task-prolog thread-spec threads threads-per-core time time-min tmp treewidth tres-bind "
    "tres-per-task uid wait wait-all-nodes wckey"
)
LONG = _WITH_A_VALUE | _MAY_HAVE_A_VALUE | _WITHOUT_A_VALUE

_NO_SHELL = "would start no shell"
_OWN_STREAMS = "would take the shell's input and output away"
_ELSEWHERE = "would run the job on a cluster where the session cannot find or cancel it"
REFUSED = {
    "cluster": _ELSEWHERE, "clusters": _ELSEWHERE,
    "error": _OWN_STREAMS, "help": _NO_SHELL, "het-group": "makes a heterogeneous job",
    "input": _OWN_STREAMS, "label": "would change the shell's output", "multi-prog": _NO_SHELL,
    "no-allocate": "runs without a job", "no-shell": _NO_SHELL, "output": _OWN_STREAMS,
    "pty": "would change the shell's output",
    "quiet": "would hide the job's number, which is needed to show the queue and to cancel the job",
    "test-only": _NO_SHELL, "usage": _NO_SHELL, "version": _NO_SHELL,
}  # fmt: skip
"""What no session can be run with, and why."""

_HELD_BACK = _names(
    "SALLOC_CLUSTERS SLURM_CLUSTERS SLURM_LABELIO SLURM_SRUN_MULTI SLURM_STDERRMODE "
    "SLURM_STDINMODE SLURM_STDOUTMODE SLURM_UNBUFFEREDIO SRUN_ERROR SRUN_INPUT SRUN_OUTPUT"
)
_OF_SCANCEL = "SCANCEL_"  # each makes it cancel less than it is told to, or ask first


def is_held_back(variable: str) -> bool:
    """Tell whether salloc, srun or scancel would take *variable* for an option in `REFUSED`.

    INPUT ENVIRONMENT VARIABLES of salloc(1), srun(1) and scancel(1), 22.05 to 25.11.
    """
    return variable in _HELD_BACK or variable.startswith(_OF_SCANCEL)


class Option(NamedTuple):
    """One option: its long name without dashes, its value ("" for none), as it was written."""

    name: str
    value: str
    text: str


def read(arguments: Sequence[str]) -> Iterator[Option]:
    """Yield the options of *arguments* in their order.

    Raises ValueError where a word is no option: salloc would take it for the command to run.
    """
    words = iter(arguments)
    for word in words:
        if not word.startswith("-") or word in ("-", "--"):
            raise ValueError(f"{word}: is no option of Slurm's; write it as --name=value")
        if word.startswith("--"):
            yield _long(word, words)
        else:
            yield from _short(word, words)


def _long(word: str, words: Iterator[str]) -> Option:
    name, equals, value = word[2:].partition("=")
    name = _whole(name)
    if name in _WITH_A_VALUE and not equals:
        value = _next(word, words)
        return Option(name, value, f"{word} {value}")
    return Option(name, value, word)


def _whole(name: str) -> str:
    """Return the one option that *name* is the beginning of, as getopt_long finds it."""
    if name in LONG:
        return name
    longer = [each for each in LONG if each.startswith(name)]
    return longer[0] if len(longer) == 1 else name


def _short(word: str, words: Iterator[str]) -> Iterator[Option]:
    """Take a word apart: `-vc4` is -v and -c 4."""
    for index, letter in enumerate(word[1:], 1):
        name = _SHORT.get(letter, letter)
        rest = word[index + 1 :]
        if name in _WITH_A_VALUE:
            value = rest or _next(word, words)
            yield Option(name, value, word if rest else f"{word} {value}")
            return
        if name in _MAY_HAVE_A_VALUE:
            yield Option(name, rest, word)
            return
        yield Option(name, "", word)


def joined(word: str, value: str) -> str:
    """Return an option and the *value* that it lacks as one argument; "" where it takes none."""
    try:
        *_, option = read([word, value])
    except ValueError:
        return ""
    return f"--{option.name}={option.value}"


def _next(word: str, words: Iterator[str]) -> str:
    try:
        return next(words)
    except StopIteration:
        raise ValueError(f"{word}: needs a value") from None


def check(arguments: Sequence[str]) -> None:
    """Raise ValueError, in words, where no session can be run with *arguments*."""
    for option in read(arguments):
        if reason := _refusal(option.name):
            raise ValueError(f"{option.text}: {reason}")


def _refusal(name: str) -> str:
    """Return why an option is refused, "" if it is not.

    `--qui` may be --quit-on-interrupt to srun and is --quiet to salloc, which has no other:
    what could be short for a refused option is taken for it.
    """
    if name in LONG:
        return REFUSED.get(name, "")
    return next((why for each, why in REFUSED.items() if each.startswith(name)), "")


def in_force(arguments: Sequence[str]) -> dict[str, Option]:
    """Return what counts: of an option that stands twice, the last."""
    return {option.name: option for option in read(arguments)}
