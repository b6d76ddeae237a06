"""`vscadmin doctor`: what this machine lets us see and do, and what is in the way."""

from __future__ import annotations

import os
from collections.abc import Iterator

import click

from vscadmin.cli import as_json as js
from vscadmin.cli import options
from vscadmin.cli.checks import Check, Grade
from vscadmin.cli.doctor_cleanup import checks as checks_of_cleanup
from vscadmin.cli.doctor_facts import facts
from vscadmin.cli.doctor_fleet import checks as checks_of_fleet
from vscadmin.cli.doctor_proxy import checks as checks_of_proxy
from vscadmin.cli.survey import BUILT_IN, load_families, load_policy
from vscadmin.errors import ConfigError, Exit, ProcessTableError
from vscadmin.escape import printable
from vscadmin.procs import machine
from vscadmin.procs.scan import read_processes


@click.command("doctor")
@options.inputs
@options.as_json
def command(policy_path: str | None, catalogue_dir: str | None, as_json: bool) -> int:
    """Check what this machine lets vscadmin see and do, and whether cleanup and sessions can run.

    Exits with 0 when nothing fails (warnings included), 71 when the process table
    cannot be read, 78 when the configuration is wrong or could be changed by others.
    """
    checks = [*_machine(), *_configuration(policy_path, catalogue_dir), *checks_of_proxy()]
    code = max((check.code for check in checks), default=Exit.DONE)
    if as_json:
        rows = [
            {"check": each.name, "grade": str(each.grade).lower(), "words": printable(each.words)}
            for each in checks
        ]
        js.emit("doctor", {"checks": rows, "facts": facts(policy_path, catalogue_dir)})
    else:
        for each in checks:
            click.echo(f"{each.grade:4}  {each.name:14} {printable(each.words, 400)}")
    return code


def _machine() -> Iterator[Check]:
    if not os.path.exists("/proc/self/mountinfo"):
        words = "/proc: is not a process table"
        yield Check("process table", Grade.FAIL, words, Exit.NO_PROCESS_TABLE)
        return
    seen = machine.mounts()
    problem = machine.pidfd_problem()
    words = f"{problem}: enforce would act as notify" if problem else "work"
    yield Check("pidfd", Grade.WARN if problem else Grade.OK, words)
    yield _process_table()
    yield _hidepid(machine.hidepid(seen))
    yield _namespace(*machine.pid_namespace())
    version = machine.cgroup_version(seen)
    if version == "none":
        words = "none mounted: jobs and containers are told by /proc/PID/cgroup alone"
        yield Check("cgroup", Grade.WARN, words)
    else:
        yield Check("cgroup", Grade.OK, version)
    problem = machine.clock_problem()
    yield Check("clock", Grade.WARN if problem else Grade.OK, problem or "synchronised")
    yield _rights()


def _process_table() -> Check:
    try:
        processes, unreadable = read_processes()
    except ProcessTableError as error:
        return Check("process table", Grade.FAIL, str(error), error.exit_code)
    words = f"{len(processes)} processes read"
    if unreadable:
        return Check("process table", Grade.WARN, f"{words}, {len(unreadable)} unreadable")
    return Check("process table", Grade.OK, words)


def _hidepid(option: str) -> Check:
    if option in ("0", "off"):
        return Check("hidepid", Grade.OK, "off: every process is listed")
    if os.geteuid() == 0:
        return Check("hidepid", Grade.OK, f"hidepid={option}, which root is exempt from")
    return Check("hidepid", Grade.WARN, f"hidepid={option}: only your own processes can be seen")


def _namespace(is_own: bool, is_first: bool) -> Check:
    if not is_own:
        words = "/proc shows another pid namespace than ours: its pids are not ours to signal"
        return Check("pid namespace", Grade.WARN, words)
    if not is_first:
        words = "not the machine's first: processes outside it are not seen"
        return Check("pid namespace", Grade.WARN, words)
    return Check("pid namespace", Grade.OK, "the machine's first")


def _rights() -> Check:
    if os.geteuid() == 0:
        return Check("rights", Grade.OK, "root: sees every process")
    words = (
        "not root: of other users' servers the executable, the sockets and the namespaces "
        "cannot be seen, so their state is unknown"
    )
    return Check("rights", Grade.WARN, words)


def _configuration(policy_path: str | None, catalogue_dir: str | None) -> Iterator[Check]:
    try:
        loaded = load_policy(policy_path)
        catalogue = load_families(loaded, catalogue_dir)
    except ConfigError as error:
        for problem in error.problems:
            yield Check("configuration", Grade.FAIL, problem, error.exit_code)
        return
    words = "the built-in policy: there is no /etc/vscadmin/policy.toml"
    if loaded.source != BUILT_IN:
        words = f"{loaded.source} is valid, mode {loaded.policy.mode}"
    yield Check("policy", Grade.OK, words)
    for warning in loaded.warnings:
        yield Check("policy", Grade.FAIL, f"{warning}: cleanup refuses it", Exit.BAD_CONFIGURATION)
    yield Check("catalogue", Grade.OK, f"{len(catalogue.families)} product families")
    yield from checks_of_cleanup(loaded.policy)
    yield from checks_of_fleet(loaded.policy)
