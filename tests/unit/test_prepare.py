"""From a command line and a proxy.toml to a session: what is run, and what is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from vscadmin.errors import ConfigError, UsageError
from vscadmin.proxy.arguments import Parser
from vscadmin.proxy.launch import BOOT, Launch, load
from vscadmin.proxy.prepare import Said, prepare
from vscadmin.version import __version__

LOGIN = {"PATH": "/usr/bin:/bin", "HOME": "/home/ada", "LANG": "C.UTF-8"}
INNER = ("srun", "--interactive", "--preserve-env", "--unbuffered", "--mpi=none")
SHELL = ("/bin/sh", "-c", BOOT)


class Site:
    """A proxy.toml, and the command on it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "proxy.toml"

    def write(self, text: str) -> Site:
        self.file.write_text(f"version = 1\n{text}", encoding="utf-8")
        self.file.chmod(0o644)
        return self

    def run(self, *argv: str, environ: dict[str, str] | None = None) -> Launch | Said:
        return prepare(
            argv, "/usr/bin/it", LOGIN if environ is None else environ, str(self.file), 77
        )

    def launch(self, *argv: str, environ: dict[str, str] | None = None) -> Launch:
        found = self.run(*argv, environ=environ)
        assert isinstance(found, Launch)
        return found

    def says(self, *argv: str) -> str:
        found = self.run(*argv)
        assert isinstance(found, Said)
        assert found.exit_code == 0
        return found.text


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


# The command.


def test_a_session_is_salloc_with_a_step_that_can_be_found(site: Site) -> None:
    found = site.launch("-S", "--time=1:00:00")
    name, comment, *rest = found.command[1:]
    host = re.escape(os.uname().nodename)
    assert (found.command[0], name) == ("salloc", "--job-name=vscode-shell-proxy")
    assert re.fullmatch(rf"--comment=vscode-shell-proxy {found.session} {host}:77", comment)
    assert re.fullmatch("[0-9a-f]{8}", found.session)
    assert tuple(rest) == ("--time=1:00:00", *INNER, *SHELL)
    assert (found.job_is_ours, found.uses_slurm) == (True, True)


def test_every_session_has_a_name_of_its_own(site: Site) -> None:
    assert site.launch().session != site.launch().session


def test_the_users_own_name_and_comment_come_later_and_win(site: Site) -> None:
    words = site.launch("-S", "-Jmine", "-S", "--comment=own").command
    assert words.index("-Jmine") > words.index("--job-name=vscode-shell-proxy")
    assert words[-9:-8] == ("--comment=own",)


def test_srun_is_one_task(site: Site) -> None:
    found = site.write('launcher = "srun"').launch("-S", "-c4")
    start = ("srun", "--overlap", "--unbuffered", "--mpi=none", "--nodes=1", "--ntasks=1")
    assert found.command[:6] == start
    assert found.command[-4:] == ("-c4", *SHELL)
    assert found.job_is_ours


@pytest.mark.parametrize("words", ["-n4", "--ntasks=2"])
def test_srun_with_several_tasks_would_be_several_shells(site: Site, words: str) -> None:
    with pytest.raises(UsageError, match="srun would start a shell for each task"):
        site.write('launcher = "srun"').launch("-S", words)
    assert site.write("").launch("-S", words)


def test_a_plain_shell_is_no_job(site: Site) -> None:
    found = site.write('launcher = "shell"').launch()
    assert found.command == SHELL
    assert (found.job_is_ours, found.uses_slurm, found.x11) == (False, False, False)


def test_a_job_that_was_there_before_is_not_ours(site: Site) -> None:
    site.write('launcher = "srun"')
    assert not site.launch("-S", "--jobid=12").job_is_ours
    assert not site.launch(environ={"SLURM_JOB_ID": "12"}).job_is_ours
    site.write("")
    assert site.launch(environ={"SLURM_JOB_ID": "12"}).job_is_ours, "salloc makes a new one"


def test_x11_is_seen_among_the_arguments(site: Site) -> None:
    assert not site.launch().x11
    assert site.launch("-S", "--x11=first").x11


@pytest.mark.parametrize("word", ["bash", "--no-shell", ":"])
def test_what_would_run_in_place_of_the_session_is_refused(site: Site, word: str) -> None:
    with pytest.raises(UsageError, match=f"^-S {word}: "):
        site.launch("-S", word)


# Who wins.


PROFILES = """
mode = "relay"
salloc_args = ["--time=1"]
default_profile = "small"
[environment]
A = "site"
B = "site"
[profile.small]
description = "for editing"
salloc_args = ["--time=2"]
[profile.direct]
mode = "direct"
launcher = "srun"
salloc_args = ["--time=3"]
environment = { B = "profile" }
"""


def test_the_default_profile_is_taken(site: Site) -> None:
    words = site.write(PROFILES).launch("-S", "--time=9").command
    assert [word for word in words if "--time" in word] == ["--time=1", "--time=2", "--time=9"]


def test_a_profile_is_chosen(site: Site) -> None:
    found = site.write(PROFILES).launch("--profile", "direct")
    assert (found.mode, found.command[0]) == ("direct", "srun")
    assert found.job_environment == {"A": "site", "B": "profile"}
    assert site.launch("--profile", "direct", "--mode", "relay").mode == "relay"


def test_an_unknown_profile_is_told_with_those_there_are(site: Site) -> None:
    with pytest.raises(UsageError, match='--profile smal: unknown; did you mean "small"'):
        site.write(PROFILES).launch("--profile", "smal")
    with pytest.raises(UsageError, match="--profile x: unknown; there are small, direct"):
        site.launch("--profile", "x")
    with pytest.raises(UsageError, match="--profile x: unknown; this site has none"):
        site.write("").launch("--profile", "x")


def test_the_users_variables_win_whatever_their_case(site: Site) -> None:
    found = site.write(PROFILES).launch("-e", "A=mine", "-e", "lower=1", "-e", "LANG")
    assert found.job_environment == {"A": "mine", "B": "site", "lower": "1", "LANG": "C.UTF-8"}


def test_a_variable_that_is_not_set_is_a_note_and_no_failure(site: Site) -> None:
    found = site.launch("-e", "NOT_THERE")
    assert found.job_environment == {}
    assert found.notes == ("-e NOT_THERE: is not set here, so the job does not get it",)


def test_the_launcher_has_the_whole_login_environment(site: Site) -> None:
    assert site.launch().environment == LOGIN


HELD_BACK = {
    "SALLOC_CLUSTERS": "other", "SCANCEL_STATE": "PENDING", "SLURM_CLUSTERS": "other",
    "SLURM_LABELIO": "1", "SLURM_SRUN_MULTI": "1", "SLURM_STDERRMODE": "e",
    "SLURM_STDINMODE": "none", "SLURM_STDOUTMODE": "o", "SLURM_UNBUFFEREDIO": "0",
    "SRUN_ERROR": "e", "SRUN_INPUT": "i", "SRUN_OUTPUT": "o",
}  # fmt: skip


def test_variables_that_mean_refused_arguments_are_for_the_job_alone(site: Site) -> None:
    others = LOGIN | {"SALLOC_PARTITION": "devel", "SLURM_CONF": "/etc/slurm/slurm.conf"}
    found = site.launch(environ=others | HELD_BACK)
    assert found.environment == others
    assert found.job_environment == HELD_BACK


def test_the_site_and_the_user_win_over_what_was_held_back(site: Site) -> None:
    environ = LOGIN | {"SLURM_LABELIO": "1", "SLURM_CLUSTERS": "a", "SRUN_INPUT": "i"}
    site.write('[environment]\nSLURM_LABELIO = "0"\nSRUN_INPUT = "site"\n')
    found = site.launch("-e", "SLURM_CLUSTERS=b", "-e", "SRUN_INPUT", environ=environ)
    wanted = {"SLURM_LABELIO": "0", "SLURM_CLUSTERS": "b", "SRUN_INPUT": "i"}
    assert found.job_environment == wanted


def test_what_was_held_back_is_explained(site: Site) -> None:
    found = site.run("--explain", environ=LOGIN | {"SLURM_LABELIO": "1"})
    assert isinstance(found, Said)
    assert re.search(r"^environment +SLURM_LABELIO=1 +login environment$", found.text, re.MULTILINE)


def test_the_site_decides_what_the_command_line_does_not(site: Site) -> None:
    found = site.write(
        'allow_direct = true\ndirect_bind = "any"\nlisten_backlog = 9\nrelay_address = "10.0.0.1"\n'
        'relay_ports = "50000-50010"\npython = ["/opt/python3"]\ncontact = "help desk"'
    ).launch("-B", "4096", "-p", "5000", "-v")
    assert (found.direct_allowed, found.direct_bind, found.backlog) == (True, "any", 9)
    assert (found.relay_address, found.relay_ports) == ("10.0.0.1", (50000, 50010))
    assert (found.pythons, found.contact) == (("/opt/python3",), "help desk")
    assert (found.byte_limit, found.listen_port, found.verbosity) == (4096, 5000, 1)
    assert site.launch("-b", "8").backlog == 8


def test_the_pid_of_the_session_stands_in_the_names_of_files(site: Site) -> None:
    found = site.launch("-l", "/t/log.[PID]", "-0", "/t/[PID].in", "-2", "/t/err")
    assert found.log_file == "/t/log.77"
    assert found.tee == ("/t/77.in", "", "/t/err")


# Limits.


def test_a_request_over_a_limit_names_the_argument_and_what_is_allowed(site: Site) -> None:
    site.write('[limits]\ntime = "8h"\nmodes = ["relay"]\n[profile.a]\nmode = "direct"')
    with pytest.raises(UsageError, match=r"^-S --time=9:00:00: allowed here: at most 8h$"):
        site.launch("-S", "--time=9:00:00")
    with pytest.raises(UsageError, match=r"^--mode direct: allowed here: relay$"):
        site.launch("--profile", "a")
    assert site.launch("-S", "--time=9:00:00", "-S", "--time=8:00:00"), "the last one counts"


def test_direct_mode_that_is_not_allowed_is_no_way_out_either(site: Site) -> None:
    site.write('allow_direct = true\n[limits]\nmodes = ["relay"]')
    assert not site.launch().direct_allowed


# Words instead of a session.


def test_the_version_is_said_even_where_the_configuration_is_wrong(site: Site) -> None:
    assert site.write("x = 1").says("--version") == f"vscode-shell-proxy {__version__}\n"
    assert site.write("").says("-v", "--version") == f"vscode-shell-proxy {__version__}\n"


def test_the_profiles_are_listed(site: Site) -> None:
    assert site.says("--list-profiles") == "This site has no profiles.\n"
    assert site.write(PROFILES).says("--list-profiles") == (
        "small   for editing (default)\ndirect  --time=3\n"
    )


def test_help_is_help(site: Site) -> None:
    assert site.says("--help").startswith("usage: vscode-shell-proxy [options]\n")


@pytest.mark.parametrize("asked", [["--help"], ["-h"], ["-v", "-S", "-n2", "--gpu", "--help"]])
def test_help_is_help_even_where_the_configuration_is_wrong(site: Site, asked: list[str]) -> None:
    found = site.write('contact = "help@example.edu"\ndefault_profile = "nix"').run(*asked)
    assert isinstance(found, Said)
    assert found.text == Parser().help()
    assert found.exit_code == 0
    assert found.warning == (
        f"{site.file}: default_profile: there is no [profile.nix]; "
        "no session can start: please tell help@example.edu"
    )


def test_a_right_configuration_is_no_warning(site: Site) -> None:
    found = site.run("--help")
    assert isinstance(found, Said)
    assert found.warning == ""


def test_an_argument_of_salloc_does_not_ask_for_help(site: Site) -> None:
    with pytest.raises(ConfigError):
        site.write("x = 1").run("-S", "--help")


def test_explain_says_where_everything_comes_from(site: Site) -> None:
    text = site.write(PROFILES).says("--explain", "-S", "--time=9", "-e", "C=x y", "-p", "5000")
    rows = {re.sub("  +", "|", line) for line in text.splitlines()}
    assert {
        f"mode|relay|{site.file}", "launcher|salloc|built-in", f"profile|small|{site.file}",
        f"argument|--time=1|{site.file}", "argument|--time=2|profile small",
        "argument|--time=9|command line", f"environment|A=site|{site.file}",
        "environment|C=x y|command line", "listen_port|5000|command line",
        "listen_host|127.0.0.1|built-in", "relay_ports|-|built-in", "backlog|1024|built-in",
    } <= rows  # fmt: skip
    assert "--time=2 --time=9 srun --interactive" in text


def test_what_explain_prints_is_harmless(site: Site) -> None:
    assert "\x1b" not in site.says("--explain", "-S", "--comment=\x1b[2J", "-e", "A=\x1b[2J")


# A wrong configuration.


def test_a_broken_file_is_one_line_with_whom_to_ask(site: Site) -> None:
    site.write('contact = "help@example.edu"\nmod = 1\nlauncher = 3')
    with pytest.raises(ConfigError) as caught:
        site.launch()
    assert str(caught.value) == (
        f'{site.file}: mod: unknown key; did you mean "mode"? (and 1 more); '
        "no session can start: please tell help@example.edu"
    )


def test_a_file_that_is_no_file_is_told(site: Site) -> None:
    site.file.mkdir()
    with pytest.raises(ConfigError, match=r"proxy.toml: Is a directory; no session can start"):
        site.launch()


def test_without_a_file_the_built_in_settings_hold(site: Site) -> None:
    assert site.launch().mode == "relay"
    assert site.launch().contact == "your administrators"


def test_another_file_is_read_where_it_is_named_and_no_less_checked(
    site: Site, tmp_path: Path
) -> None:
    other = Site(tmp_path / "other")
    other.file.parent.mkdir()
    other.write('launcher = "shell"')
    for words in (["--config", str(other.file)], [f"--config={other.file}", "-v"]):
        assert site.write("").launch(*words).command == SHELL
    with pytest.raises(UsageError, match="--config /nonexistent: there is no such file"):
        site.launch("--config", "/nonexistent")
    other.file.chmod(0o666)
    with pytest.raises(ConfigError, match="its group or others can write it"):
        site.launch("--config", str(other.file))


def test_home_and_environment_name_no_configuration(site: Site, tmp_path: Path) -> None:
    site.write('launcher = "shell"')
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "VSCADMIN": str(site.file)}
    found = prepare([], "/usr/bin/it", environ, str(tmp_path / "none.toml"))
    assert isinstance(found, Launch)
    assert found.command[0] == "salloc"


def test_a_launch_comes_through_a_pipe_as_it_is(site: Site) -> None:
    found = site.write(PROFILES).launch("-e", "A=\udcff\n", environ={"X": "\udcff"})
    assert load(found.dump()) == found
