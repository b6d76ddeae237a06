"""Host blocks and settings: what is written, and what is never let in."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from vscadmin.cli import ssh_config
from vscadmin.cli.main import cli
from vscadmin.errors import UsageError
from vscadmin.proxy import contribute, hosts
from vscadmin.proxy.hosts import Host
from vscadmin.proxy.prepare import prepare

LOGIN = "login.example.edu"


class Site:
    """A site's proxy.toml in a directory that nobody can read too; there is none yet."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.file = folder / "proxy.toml"

    def decides(self, text: str) -> None:
        self._write(self.file, f"version = 1\n{text}")

    def has_plugin(self, body: str, signature: str) -> None:
        """Give the site one plugin, with one hook."""
        folder = self.file.with_name("site-plugins")
        folder.mkdir(mode=0o755)
        marked = f"from vscadmin.sites import hookimpl\n@hookimpl\ndef {signature}:\n    {body}\n"
        self._write(folder / "mine.py", marked)
        self.decides('plugins = ["mine"]')

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)


@pytest.fixture(autouse=True)
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as folder:
        found = Site(Path(folder))
        monkeypatch.setattr(ssh_config, "DEFAULT", str(found.file))
        yield found


@pytest.fixture
def readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this Python one that users can read, wherever it is installed."""
    assert contribute, "nobody need not be able to import it"
    monkeypatch.setattr(os, "access", lambda *_: True)


def host(**changes: Any) -> Host:
    return Host(**{"alias": "login-job", "host_name": LOGIN, **changes})


def run(*words: str) -> Result:
    asked = ("ssh-config", "--host-name", LOGIN, *words)
    return CliRunner().invoke(cli, asked, standalone_mode=False, catch_exceptions=False)


def printed(*words: str) -> str:
    return run(*words).stdout


def refusal(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        run(*words)
    return str(caught.value)


def test_the_plain_block_is_short() -> None:
    assert hosts.render(host(user="alice")) == (
        "Host login-job\n"
        "    HostName login.example.edu\n"
        "    User alice\n"
        "    RemoteCommand vscode-shell-proxy\n"
        "    RequestTTY no\n"
        "    ServerAliveInterval 30\n"
        "    ServerAliveCountMax 4\n"
    )


def test_a_file_of_its_own_knows_the_usual_hosts_too() -> None:
    """Include in the block itself would hold for that host alone."""
    assert hosts.render(host(), own_file=True).endswith(
        "ServerAliveCountMax 4\n\nMatch all\n    Include ~/.ssh/config\n"
    )


@pytest.mark.parametrize(
    ("argument", "word"),
    [
        ("--salloc-arg=--partition=devel", "--salloc-arg=--partition=devel"),
        ("", "''"),
        ("a b", "'a b'"),
        ("it's", r"'it'\''s'"),
        ("wow!", r"'wow'\!"),
        (r"a\b", r"'a'\\'b'"),
        ("=ls", "'=ls'"),
        ("~", "'~'"),
        ("50%", "'50%'"),
    ],
)
def test_an_argument_is_quoted_for_every_shell(argument: str, word: str) -> None:
    assert hosts.quoted(argument) == word


def test_percent_signs_are_not_ssh_tokens() -> None:
    assert hosts.remote_command(["x", "50% of %u"]) == "x '50%% of %%u'"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"alias": "my host"}, '--alias: "my host" is not a name'),
        ({"alias": "*"}, '--alias: "*" is not a name'),
        ({"alias": "!login"}, "--alias"),
        ({"alias": "-oProxyCommand=x"}, "--alias"),
        ({"alias": ""}, '--alias: "" is not a name'),
        ({"alias": "a\nMatch all"}, r'--alias: "a\x0aMatch all" is not a name'),
        ({"host_name": "login example"}, "--host-name"),
        ({"host_name": "%h"}, "--host-name"),
        ({"host_name": "x" * 254}, "at most 253"),
        ({"host_name": "fe80::1%eth0"}, "neither a name nor an address"),
        ({"host_name": "1::2::3"}, "neither a name nor an address"),
        ({"user": "alice smith"}, '--user: "alice smith" is not a user name'),
        ({"user": "%r"}, "--user"),
        ({"user": ""}, "--user"),
        ({"proxy_jump": ""}, "--proxy-jump"),
        ({"proxy_jump": "none"}, "--proxy-jump"),
        ({"proxy_jump": "a,,b"}, "--proxy-jump"),
        ({"proxy_jump": "gate:0"}, '--proxy-jump: "0" is not a port'),
        ({"proxy_jump": "[1::2::3]:22"}, "neither a name nor an address"),
        ({"proxy_jump": "alice@login-job"}, "is the alias itself"),
        ({"arguments": ("a\nProxyCommand b",)}, "characters that cannot be printed"),
        ({"arguments": ("\x1b[2J",)}, "characters that cannot be printed"),
        ({"arguments": ("\udcff",)}, "characters that cannot be printed"),
        ({"local_forwards": ("8888",)}, '"8888" is not [BIND:]PORT:HOST:PORT'),
        ({"local_forwards": ("8888:db",)}, "--local-forward"),
        ({"local_forwards": ("0:db:80",)}, '--local-forward: "0" is not a port'),
        ({"local_forwards": ("1:db:65536",)}, '"65536" is not a port: 1 to 65535'),
        ({"local_forwards": ("1:[1::2::3]:80",)}, "neither a name nor an address"),
    ],
)
def test_what_ssh_would_misread_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        host(**wrong)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.text(), st.sampled_from(["alias", "host_name", "user", "proxy_jump"]))
def test_no_name_brings_a_line_of_its_own(text: str, key: str) -> None:
    try:
        block = hosts.render(host(**{key: text}))
    except UsageError:
        return
    without = {"proxy_jump": 7, "user": 7}.get(key, 6)
    assert len(block.splitlines()) == without


@given(st.lists(st.text()))
def test_no_argument_brings_a_line_of_its_own(arguments: list[str]) -> None:
    try:
        block = hosts.render(host(arguments=tuple(arguments)))
    except UsageError:
        assert not all(each.isprintable() for each in arguments)
    else:
        assert len(block.splitlines()) == 6


def test_the_settings_are_those_without_which_nothing_runs_in_a_job() -> None:
    assert hosts.settings(host(), 300) == {
        "remote.SSH.enableRemoteCommand": True,
        "remote.SSH.useLocalServer": True,
        "remote.SSH.enableDynamicForwarding": True,
        "remote.SSH.connectTimeout": 300,
        "remote.SSH.lockfilesInTmp": True,
    }


def test_the_settings_name_what_the_block_asks_for() -> None:
    wanted = hosts.settings(host(x11=True, forward_agent=True), 60, r"C:\Users\a\jobs")
    assert wanted["remote.SSH.enableX11Forwarding"] is True
    assert wanted["remote.SSH.enableAgentForwarding"] is True
    assert wanted["remote.SSH.configFile"] == r"C:\Users\a\jobs"


def test_the_name_of_the_configuration_is_one_line() -> None:
    with pytest.raises(UsageError, match="--config-file"):
        hosts.settings(host(), 60, "a\nb")


@pytest.mark.usefixtures("readable")
def test_the_arguments_of_the_proxy_stand_in_the_order_of_the_manual(site: Site) -> None:
    site.decides('plugins = ["workgroup"]\n[profile.gpu]\n')
    wishes = ("--profile", "gpu", "-g", "it_nss", "-S", "--mem=4G", "-S", "-n2", "--json")
    shown = json.loads(printed(*wishes, "--", "-v", "--mode", "direct"))["command"]
    assert shown == [
        "vscode-shell-proxy", "--profile=gpu", "--group=it_nss", "--salloc-arg=--mem=4G",
        "--salloc-arg=-n2", "-v", "--mode", "direct",
    ]  # fmt: skip


def test_a_profile_must_be_one_of_the_site(site: Site) -> None:
    site.decides("[profile.gpu]\n[profile.big]\n")
    assert "--profile=gpu" in printed("--profile", "gpu")
    assert refusal("--profile", "gpuu") == '--profile gpuu: unknown; did you mean "gpu"?'
    assert refusal("--profile", "x") == "--profile x: unknown; there are gpu, big"


def test_a_mistake_of_the_site_keeps_nobody_from_a_block(site: Site) -> None:
    site.decides("mod = 1\n")
    done = run("--profile", "any", "-g", "any", "--only", "block", "--", "--any")
    assert "vscode-shell-proxy --profile=any --group=any --any\n" in done.stdout
    assert done.stderr == (
        f'vscadmin: warning: {site.file}: mod: unknown key; did you mean "mode"?; '
        "no session can start: please tell your administrators\n"
    )
    assert refusal("-S", "--pty") == "-S --pty: would change the shell's output"


@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (["-S", "devel"], ["-S", "devel"]),
        (["-S", "--pty"], ["-S", "--pty"]),
        (["-S", "--time", "--x11"], ["-S", "--time"]),
        (["-S", "--time=9:00:00"], ["-S", "--time=9:00:00"]),
        (["-S", "--time", "4:00:00"], ["-S", "--time", "4:00:00"]),
        (["-g", "grp"], ["-g", "grp"]),
        (["--profile", "gup"], ["--profile", "gup"]),
        (["--", "-S", "--pty"], ["-S", "--pty"]),
        (["--", "--foo"], ["--foo"]),
        (["--", "--partition=devel"], ["--partition=devel"]),
        (["--", "--mode", "fast"], ["--mode", "fast"]),
        (["--", "--config", "/nonexistent"], ["--config", "/nonexistent"]),
    ],
)
def test_what_the_proxy_would_refuse_is_refused_in_its_words(
    site: Site, asked: list[str], given: list[str]
) -> None:
    site.decides('[limits]\ntime = "8h"\n[profile.gpu]\n')
    with pytest.raises(UsageError) as caught:
        prepare(given, "", os.environ, str(site.file))
    assert refusal(*asked) == str(caught.value)


@pytest.mark.parametrize("word", ["--help", "--version", "--list-profiles", "--explain"])
def test_what_asks_the_proxy_for_words_alone_is_refused(word: str) -> None:
    assert refusal("--", word).endswith("--explain start no session")


@pytest.mark.usefixtures("readable")
def test_a_plugin_may_find_fault_with_its_option(site: Site) -> None:
    site.decides('plugins = ["workgroup"]')
    assert "--group=it_nss" in printed("-g", "it_nss")
    assert refusal("-g", "a b") == '-g: "a b" is no name of a workgroup'


@pytest.mark.usefixtures("readable")
def test_a_plugin_may_refuse_its_caller_but_not_everybody_in_roots_name(site: Site) -> None:
    site.has_plugin("return 'not on Sundays'", "refuse()")
    if os.geteuid() == 0:
        assert run().stderr == ""
        assert printed().startswith("# 1.")
    else:
        assert refusal() == "not on Sundays"


@pytest.mark.usefixtures("readable")
def test_what_a_plugin_prints_is_in_no_block(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    words = "import os; print('hook'); os.system('echo program; cat'); return []"
    site.has_plugin(words, "notes()")
    assert printed("--only", "block").startswith("Host login-job\n")
    assert capfd.readouterr().out == ""


@pytest.mark.usefixtures("readable")
def test_a_plugin_that_fails_is_a_warning_and_leaves_nothing_behind(
    site: Site, tmp_path: Path
) -> None:
    site.has_plugin("return {}['key']", "notes()")
    log = tmp_path / "log"
    done = run("--only", "block", "--", "-l", str(log))
    assert done.stderr.startswith("vscadmin: warning: plugin mine: notes: KeyError: 'key'; no se")
    assert done.stdout.startswith("Host login-job\n")
    assert not log.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up rights")
@pytest.mark.usefixtures("readable")
@pytest.mark.parametrize("words", [(), ("--", "--config")])
def test_a_plugin_never_runs_with_roots_rights(site: Site, words: tuple[str, ...]) -> None:
    site.has_plugin("import os; raise ValueError(os.getresuid())", "notes()")
    if words:
        words = (*words, str(site.file.rename(site.file.with_name("other.toml"))))
    assert "ValueError: (65534, 65534, 65534)" in run(*words).stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives up rights")
def test_a_python_that_users_cannot_read_is_a_warning(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.has_plugin("return []", "notes()")
    monkeypatch.setattr(os, "access", lambda *_: False)
    done = run("--only", "block")
    assert "users cannot read it, so none of them can start a session" in done.stderr
    assert done.stdout.startswith("Host login-job\n")


@pytest.mark.usefixtures("readable")
def test_slurm_is_asked_for_x11_unless_a_plugin_does_it(site: Site) -> None:
    assert "--salloc-arg=--x11\n" in printed("--x11")
    assert "--salloc-arg=--x11=all\n" in printed("--x11", "-S", "--x11=all")
    site.decides('plugins = ["x11"]')
    assert "RemoteCommand vscode-shell-proxy --x11\n" in printed("--x11")


def test_the_alias_is_the_one_that_notices_name() -> None:
    assert printed("--only", "block").startswith("Host login-job\n")


def test_the_settings_alone_are_json() -> None:
    timeout = json.loads(printed("--only", "settings", "--connect-timeout", "20m"))
    assert timeout["remote.SSH.connectTimeout"] == 1200


def test_the_whole_page_says_what_goes_where() -> None:
    page = printed("--user", "alice")
    parts = page.split("# ")
    assert "~/.ssh/config" in parts[1]
    assert "Host login-job" in parts[1]
    assert json.loads(parts[2][parts[2].index("{") :]) == hosts.settings(host(), 300)
    assert "Connect to Host..., login-job" in parts[3]


def test_a_name_that_laptops_may_not_know_is_asked_about() -> None:
    assert "Is login01 known" in printed("--host-name", "login01")
    assert "known to your computer" not in printed("--host-name", LOGIN)
    guessed = CliRunner().invoke(cli, ["ssh-config"]).stdout
    assert "known to your computer" in guessed, "it may be the name in an inner network"
    assert "known to your computer" not in printed("--host-name", "2001:db8::1", "--alias", "x")


def test_an_alias_that_takes_the_nodes_own_name_is_warned_of() -> None:
    assert "starts a job, too" in printed("--alias", LOGIN)
    assert "starts a job, too" not in printed("--alias", LOGIN, "--config-file", "~/jobs")


def test_a_stray_word_is_not_taken_for_an_argument_of_the_proxy() -> None:
    with pytest.raises(UsageError, match=r'"login-job": arguments of .* --alias'):
        printed("login-job")
