"""The seven plugins that come with vscadmin: each does what its page says, and they compose."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import stat
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from vscadmin.errors import ConfigError, NotPermittedError, UsageError
from vscadmin.proxy import site
from vscadmin.proxy.launch import BOOT, Launch
from vscadmin.proxy.prepare import Said, prepare

SHIPPED = Path(__file__).resolve().parents[2] / "site-plugins"
NAMES = sorted(path.stem for path in SHIPPED.glob("*.py"))


class Site:
    """A site with some of the plugins, and commands of its own first in PATH."""

    def __init__(self, folder: Path) -> None:
        self.file, self.bin = folder / "proxy.toml", folder / "bin"
        self.bin.mkdir()
        self.environment = {"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(folder)}

    def use(self, *plugins: str, settings: str = "") -> Site:
        self.file.write_text(f"version = 1\nplugins = {list(plugins)}\n{settings}")
        self.file.chmod(0o644)
        return self

    def command(self, name: str, script: str) -> Path:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def launch(self, *argv: str) -> Launch:
        found = prepare(argv, "/usr/bin/it", self.environment, str(self.file))
        assert isinstance(found, Launch)
        return found


@pytest.fixture
def at(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_there_are_seven() -> None:
    assert NAMES == [
        "agent_forwarding", "apptainer", "custom_glibc", "salloc_args", "srun_shell",
        "workgroup", "x11",
    ]  # fmt: skip
    assert site.installed_dir() == str(SHIPPED)


@pytest.mark.parametrize("name", NAMES)
def test_the_example_in_a_plugins_own_words_is_right(at: Site, name: str) -> None:
    words = (SHIPPED / f"{name}.py").read_text(encoding="utf-8").split('"""')[1]
    example = "\n".join(re.findall(r"^    (.*)$", words, re.MULTILINE))
    assert tomllib.loads(example)["plugins"] == [name]
    at.file.write_text(f"version = 1\n{example}", encoding="utf-8")
    assert site.load(at.file.read_bytes(), str(at.file), "").plugins


# workgroup


def test_a_workgroup_wraps_the_launcher(at: Site) -> None:
    found = at.use("workgroup").launch("-g", "it_nss", "-S", "--time=60")
    start = ("workgroup", "-g", "it_nss", "--command", "@", "--", "salloc")
    assert found.command[:7] == start
    assert found.command[-1] == BOOT


@pytest.mark.parametrize("flag", ["-g", "--group", "--workgroup"])
def test_a_workgroup_is_named_by_any_of_its_flags(at: Site, flag: str) -> None:
    assert at.use("workgroup").launch(flag, "bio").command[2] == "bio"


def test_the_default_workgroup_is_the_first_that_the_command_names(at: Site) -> None:
    words = 'test "$*" = "-q workgroups" && echo "  1001 it_nss  1002 bio"'
    path = at.command("workgroup", words)
    settings = f'[plugin.workgroup]\ncommand = "{path}"\n'
    assert at.use("workgroup", settings=settings).launch().command[:3] == (
        str(path),
        "-g",
        "it_nss",
    )
    assert at.use("workgroup", settings=settings + 'default = "bio"').launch().command[2] == "bio"


def test_who_is_in_no_workgroup_is_told_so(at: Site) -> None:
    path = at.command("workgroup", "echo")
    settings = f'[plugin.workgroup]\ncommand = "{path}"'
    with pytest.raises(NotPermittedError, match="you are a member of no workgroup"):
        at.use("workgroup", settings=settings).launch()


def test_what_is_no_workgroup_is_refused(at: Site) -> None:
    with pytest.raises(UsageError, match='-g: "a;b" is no name of a workgroup'):
        at.use("workgroup").launch("-g", "a;b")


def test_a_workgroup_command_that_fails_is_the_sites_fault(at: Site) -> None:
    settings = '[plugin.workgroup]\ncommand = "/nonexistent/workgroup"'
    with pytest.raises(ConfigError, match="plugin workgroup: refuse: FileNotFoundError"):
        at.use("workgroup", settings=settings).launch()


# salloc_args


def test_a_site_adds_forces_and_allows_arguments(at: Site) -> None:
    at.use(
        "salloc_args",
        settings='[plugin.salloc_args]\ndefault = ["--time=60"]\nforced = ["--qos=devel"]\n'
        'allowed = ["time", "qos"]',
    )
    words = at.launch("-S", "--time=90", "-S", "-qhigh").command
    assert words[3:7] == ("--time=60", "--time=90", "-qhigh", "--qos=devel")
    with pytest.raises(NotPermittedError, match="-S --exclusive is not allowed here; allowed are"):
        at.launch("-S", "--exclusive")


def test_a_name_with_dashes_is_told(at: Site) -> None:
    at.use("salloc_args", settings='[plugin.salloc_args]\nallowed = ["--time"]')
    with pytest.raises(ConfigError, match=r'plugin.salloc_args.allowed: write "time"'):
        at.launch()


# x11


@contextlib.contextmanager
def display(number: int) -> Iterator[str]:
    """Listen as the X server behind `ssh -X` does."""
    with socket.create_server(("127.0.0.1", 6000 + number)):
        yield f"localhost:{number}.0"


def with_display(at: Site, name: str) -> Site:
    at.environment["DISPLAY"] = name
    return at.use("x11")


@pytest.fixture
def path_of(at: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", at.environment["PATH"])


@pytest.mark.usefixtures("path_of")
def test_x11_is_added_where_the_display_answers(at: Site) -> None:
    at.command("xauth", 'echo "login1:97  MIT-MAGIC-COOKIE-1  00"')
    with display(97) as name:
        found = with_display(at, name).launch()
    assert "--x11" in found.command
    assert (found.x11, found.notes) == (True, ())


@pytest.mark.usefixtures("path_of")
@pytest.mark.parametrize(
    ("name", "cookie", "said"),
    [
        (":0", "echo x", "DISPLAY=:0 is a screen of this machine, not of yours"),
        ("localhost:96.0", "true", "xauth knows no cookie for DISPLAY=localhost:96.0"),
        ("localhost:95.0", "echo x", "DISPLAY=localhost:95.0 does not answer: Connection refused"),
        ("localhost:94.0", "exit 1", "xauth knows no cookie"),
    ],
)
def test_a_display_that_cannot_work_is_one_line_and_no_failure(
    at: Site, name: str, cookie: str, said: str
) -> None:
    at.command("xauth", cookie)
    found = with_display(at, name).launch()
    assert "--x11" not in found.command
    (line,) = found.notes
    assert line.startswith("no X11 windows from this job: ")
    assert said in line


def test_without_a_display_there_is_nothing_to_say_unless_it_was_asked_for(at: Site) -> None:
    assert at.use("x11").launch().notes == ()
    assert "DISPLAY is not set" in at.launch("--x11").notes[0]
    assert "DISPLAY is not set" in at.launch("-S", "--x11").notes[0]


def test_x11_may_be_left_to_those_who_ask(at: Site) -> None:
    at.environment["DISPLAY"] = ":0"
    at.use("x11", settings="[plugin.x11]\nalways = false")
    assert at.launch().notes == ()
    assert at.launch("--x11").notes


@pytest.mark.skipif(shutil.which("xauth") is None, reason="needs xauth")
def test_the_real_xauth_is_asked(at: Site, tmp_path: Path) -> None:
    authority = str(tmp_path / "authority")
    add = ["xauth", "-f", authority, "add", "localhost:93", "MIT-MAGIC-COOKIE-1", "00" * 16]
    with display(93) as name:
        at.environment["XAUTHORITY"] = authority
        assert "knows no cookie" in with_display(at, name).launch().notes[0]
        subprocess.run(add, check=True, capture_output=True)
        assert with_display(at, name).launch().x11


# srun_shell


def test_srun_takes_the_place_of_salloc(at: Site) -> None:
    at.use("srun_shell", settings='[plugin.srun_shell]\narguments = ["--qos=devel"]')
    found = at.launch("-S", "-c4")
    assert found.command[0] == "srun"
    assert found.command[6] == "--qos=devel"
    assert f"--comment=vscode-shell-proxy {found.session} " in " ".join(found.command)
    assert found.command[-4:] == ("-c4", "/bin/sh", "-c", BOOT)
    assert (found.uses_slurm, found.job_is_ours) == (True, True)
    with pytest.raises(UsageError, match="srun would start a shell for each task"):
        at.launch("-S", "-n4")


# custom_glibc


GLIBC = '[plugin.custom_glibc]\npath = "/a:/b"\nlinker = "/a/ld.so"\npatchelf = "/c/patchelf"'


def test_the_server_is_told_of_another_glibc(at: Site) -> None:
    found = at.use("custom_glibc", settings=GLIBC).launch()
    assert found.job_environment == {
        "VSCODE_SERVER_CUSTOM_GLIBC_PATH": "/a:/b",
        "VSCODE_SERVER_CUSTOM_GLIBC_LINKER": "/a/ld.so",
        "VSCODE_SERVER_PATCHELF_PATH": "/c/patchelf",
    }


def test_a_glibc_is_three_absolute_paths(at: Site) -> None:
    with pytest.raises(ConfigError, match=r'plugin.custom_glibc.path: "" must be an absolute path'):
        at.use("custom_glibc").launch()
    with pytest.raises(ConfigError, match=r'path: "b" must be an absolute path'):
        at.use("custom_glibc", settings=GLIBC.replace(":/b", ":b")).launch()


# agent_forwarding


def test_an_agent_that_answers_is_forwarded(at: Site, tmp_path: Path) -> None:
    path = f"{tmp_path}/agent"
    at.environment["SSH_AUTH_SOCK"] = path
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(path)
        agent.listen()
        assert at.use("agent_forwarding").launch().forwards == (("SSH_AUTH_SOCK", path),)
        assert at.launch("--no-agent").forwards == ()


def test_an_agent_that_is_gone_is_one_line(at: Site, tmp_path: Path) -> None:
    at.environment["SSH_AUTH_SOCK"] = f"{tmp_path}/gone"
    found = at.use("agent_forwarding").launch()
    assert found.forwards == ()
    assert found.notes == (
        f"no ssh agent in this job: SSH_AUTH_SOCK={tmp_path}/gone: No such file or directory",
    )


def test_without_an_agent_there_is_nothing_to_say(at: Site) -> None:
    found = at.use("agent_forwarding").launch()
    assert (found.forwards, found.notes) == ((), ())


# apptainer


def test_the_shell_runs_in_the_image(at: Site) -> None:
    at.use(
        "apptainer",
        settings='[plugin.apptainer]\nimage = "/shared/devel.sif"\nbinds = ["/scratch", "/a:/b"]\n'
        'arguments = ["--nv"]',
    )
    start = ("apptainer", "exec", "--bind", "/scratch", "--bind", "/a:/b", "--nv")
    assert at.launch().shell == (*start, "/shared/devel.sif")
    assert at.launch("--image", "docker://a/b").shell == (*start, "docker://a/b")


def test_without_an_image_there_is_no_container(at: Site) -> None:
    assert at.use("apptainer").launch().shell == ()


@pytest.mark.parametrize("image", ["/other/a.sif", "/shared/../other/a.sif", "docker://a/b"])
def test_an_image_that_is_not_allowed_is_refused(at: Site, image: str) -> None:
    at.use("apptainer", settings='[plugin.apptainer]\nallowed = ["/shared/*.sif"]')
    assert at.launch("--image", "/shared/a.sif").shell[-1] == "/shared/a.sif"
    with pytest.raises(NotPermittedError, match="is not allowed here; allowed are /shared/"):
        at.launch("--image", image)


def test_what_is_no_image_is_refused(at: Site) -> None:
    with pytest.raises(UsageError, match="--image: --nv is no image"):
        at.use("apptainer").launch("--image=--nv")


# Together.


@pytest.mark.usefixtures("path_of")
def test_all_of_them_compose(at: Site, tmp_path: Path) -> None:
    at.command("workgroup", 'echo "1001 it_nss"')
    at.command("xauth", "echo cookie")
    path = f"{tmp_path}/agent"
    at.environment["SSH_AUTH_SOCK"] = path
    with display(92) as name, socket.socket(socket.AF_UNIX) as agent:
        agent.bind(path)
        agent.listen()
        at.environment["DISPLAY"] = name
        found = at.use(
            "salloc_args", "x11", "srun_shell", "custom_glibc", "agent_forwarding", "apptainer",
            "workgroup",
            settings=GLIBC + '\n[plugin.salloc_args]\nforced = ["--qos=devel"]\n'
            '[plugin.apptainer]\nimage = "/shared/a.sif"',
        ).launch("-S", "--time=60")  # fmt: skip
    assert found.command[:7] == ("workgroup", "-g", "it_nss", "--command", "@", "--", "srun")
    assert found.command[-6:-3] == ("--x11", "--time=60", "--qos=devel")
    assert found.shell == ("apptainer", "exec", "/shared/a.sif")
    assert found.forwards == (("SSH_AUTH_SOCK", path),)
    assert "VSCODE_SERVER_PATCHELF_PATH" in found.job_environment
    assert (found.x11, found.notes) == (True, ())


def test_explain_names_the_plugin_behind_everything(at: Site, tmp_path: Path) -> None:
    path = f"{tmp_path}/agent"
    at.environment["SSH_AUTH_SOCK"] = path
    plugins = ("salloc_args", "srun_shell", "custom_glibc", "agent_forwarding", "apptainer")
    forced = (
        '\n[plugin.salloc_args]\nforced = ["--qos=devel"]\n[plugin.apptainer]\nimage = "/a.sif"'
    )
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(path)
        agent.listen()
        at.use(*plugins, settings=GLIBC + forced)
        said = prepare(["--explain"], "/usr/bin/it", at.environment, str(at.file))
    assert isinstance(said, Said)
    rows = {re.sub("  +", "|", line) for line in said.text.splitlines()}
    assert {
        "argument|--qos=devel|plugin salloc_args", "launcher|srun|plugin srun_shell",
        "environment|VSCODE_SERVER_CUSTOM_GLIBC_LINKER=/a/ld.so|plugin custom_glibc",
        f"forward|SSH_AUTH_SOCK to {path}|plugin agent_forwarding",
        "shell in|apptainer exec /a.sif|plugins",
    } <= rows  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_plugin_is_one_that_only_its_owner_can_change(name: str) -> None:
    mode = os.stat(SHIPPED / f"{name}.py").st_mode
    assert not mode & (stat.S_IWGRP | stat.S_IWOTH)
