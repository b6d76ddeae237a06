"""From a command line, proxy.toml and the plugins to a Launch; nothing has started by then."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vscadmin.errors import ConfigError, Exit, UsageError
from vscadmin.escape import printable
from vscadmin.proxy import site
from vscadmin.proxy.arguments import PROGRAM, Parser
from vscadmin.proxy.draft import Draft
from vscadmin.proxy.launch import DIRECT, Launch
from vscadmin.proxy.settings import DEFAULT, ProxySettings, contact_in
from vscadmin.proxy.slurm_args import Option
from vscadmin.version import __version__


class Said(NamedTuple):
    """The command line asked for words, not for a session: they go to stdout."""

    text: str
    exit_code: int = Exit.DONE
    warning: str = ""
    """One line for stderr."""


def prepare(
    argv: Sequence[str],
    invoked_as: str,
    environ: Mapping[str, str],
    config: str = DEFAULT,
    pid: int = 0,
) -> Launch | Said:
    """Return the session that *argv*, without the program's name, asks for.

    As `decide`, *pid* 0 being this process; and what a plugin raised goes to the log file, if
    the command line names one.
    """
    pid = pid or os.getpid()
    try:
        return decide(argv, invoked_as, environ, config, pid)
    except ConfigError as error:
        _keep_trace(argv, getattr(error.__cause__, "trace", ""), pid)
        raise


def decide(
    argv: Sequence[str], invoked_as: str, environ: Mapping[str, str], config: str, pid: int
) -> Launch | Said:
    """Return what `prepare` does; nothing is written by it.

    *invoked_as* is the path that the command was called by, *config* the proxy.toml unless
    *argv* names one, *pid* the session's process. Raises UsageError (2), NotPermittedError
    (77) and ConfigError (78), each with the one line that the user is to see.
    """
    if list(argv) == ["--version"]:  # also of use where the configuration is wrong
        return Said(f"{PROGRAM} {__version__}\n")
    text = None
    try:
        named = any(word.startswith("--config") for word in argv)
        asked_config = Parser().config(argv) if named else ""  # 2 ms that few need to pay
        config = asked_config or config
        text = site.read(config)
        if text is None and asked_config:
            raise UsageError(f"--config {printable(config)}: there is no such file")
        if text is not None:
            site.believe(config)
        return _prepare(argv, site.load(text, config, invoked_as), environ, pid)
    except ConfigError as error:
        first, *others = error.problems
        more = f" (and {len(others)} more)" if others else ""
        line = f"{first}{more}; no session can start: please tell {contact_in(text or b'')}"
        parser = Parser()
        if parser.asks_for_help(argv):
            return Said(parser.help(), warning=line)
        raise ConfigError((line,)) from error


def _prepare(
    argv: Sequence[str], chosen: site.Site, environ: Mapping[str, str], pid: int
) -> Launch | Said:
    parser = Parser()
    if chosen.plugins:
        chosen.plugins.add_options(parser.site_options)
    asked = parser.parse(argv)
    if asked.version:
        return Said(f"{PROGRAM} {__version__}\n")
    if asked.help:
        return Said(parser.help())
    if asked.list_profiles:
        return Said(_profiles(chosen.settings))
    draft = Draft(chosen.settings, asked, environ, pid)
    _put_together(draft, chosen)
    if asked.explain:
        from vscadmin.proxy.explain import explain  # noqa: PLC0415 - only here

        return Said(explain(draft))
    return _launch(draft, draft.options())


def _put_together(draft: Draft, chosen: site.Site) -> None:
    """Decide everything that is still open, in the order in which one thing needs another."""
    if chosen.plugins:
        from vscadmin.proxy import contribute  # noqa: PLC0415 - brings pluggy

        contribute.arguments(draft, chosen.plugins)
    draft.check_limits()
    draft.command = draft.default_command()
    draft.set_environment(*draft.of_site("environment"))
    draft.set_environment(*draft.of_profile("environment"))
    if chosen.plugins:
        contribute.consent(draft, chosen.plugins)
        contribute.command(draft, chosen.plugins)
        contribute.surroundings(draft, chosen.plugins)
    draft.check_tasks()
    draft.copy_environment()


def _launch(draft: Draft, options: Mapping[str, Option]) -> Launch:
    settings, asked = draft.settings, draft.asked
    log_file, stdin, stdout, stderr = (
        each.replace("[PID]", str(draft.pid)) for each in (asked.log_file, *asked.tee)
    )
    return Launch(
        command=draft.command,
        environment=dict(draft.environ),
        job_is_ours=_job_is_ours(draft, options),
        uses_slurm=draft.launcher != "shell",
        mode=draft.mode,
        direct_allowed=settings.allow_direct and DIRECT in (settings.limits.modes or (DIRECT,)),
        direct_bind=settings.direct_bind,
        relay_address=settings.relay_address,
        relay_ports=settings.relay_ports,
        pythons=settings.python,
        listen_host=asked.listen_host,
        listen_port=asked.listen_port,
        backlog=asked.backlog or settings.listen_backlog,
        byte_limit=asked.byte_limit,
        shell=draft.shell,
        job_environment={name: value for name, (value, _) in draft.environment.items()},
        forwards=tuple((variable, socket) for variable, socket, _ in draft.forwards),
        x11="x11" in options and draft.launcher != "shell",
        log_file=log_file,
        tee=(stdin, stdout, stderr),
        verbosity=asked.verbosity,
        contact=settings.contact,
        session=draft.session,
        notes=tuple(draft.notes),
    )


def _job_is_ours(draft: Draft, options: Mapping[str, Option]) -> bool:
    """Tell whether the launcher makes a job, or joins one that exists."""
    if draft.launcher == "srun":
        joins = "jobid" in options or any(word.startswith("--jobid") for word in draft.command)
        return not joins and "SLURM_JOB_ID" not in draft.environ
    return draft.launcher == "salloc"


def _profiles(settings: ProxySettings) -> str:
    if not settings.profile:
        return "This site has no profiles.\n"
    width = max(map(len, settings.profile))
    return "".join(
        f"{name:{width}}  {each.description or ' '.join(each.salloc_args)}"
        f"{' (default)' if name == settings.default_profile else ''}\n"
        for name, each in settings.profile.items()
    )


def _keep_trace(argv: Sequence[str], trace: str, pid: int) -> None:
    """Write what a plugin raised to the log file, if the command line names one."""
    path = Parser().log_file(argv) if trace else ""
    if not path:
        return
    from vscadmin.proxy.journal import open_private  # noqa: PLC0415 - only here

    try:
        fd = open_private(path.replace("[PID]", str(pid)), "--log-file")
    except ConfigError:
        return  # the line on stderr is what counts
    with open(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(trace)
