"""The command line of vscode-shell-proxy: the flags of the existing proxy, and the new ones."""

from __future__ import annotations

import os

import pytest

from vscadmin.errors import ConfigError, Exit, UsageError
from vscadmin.proxy.arguments import Asked, Parser


def parse(*argv: str) -> Asked:
    return Parser().parse(argv)


def refusal(*argv: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(*argv)
    assert caught.value.exit_code is Exit.USAGE
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_arguments_nothing_is_asked_for() -> None:
    asked = parse()
    assert asked == Asked(
        help=False, version=False, list_profiles=False, explain=False, profile="", mode="",
        salloc_args=(), environment=(), verbosity=0, log_file="", tee=("", "", ""),
        backlog=None, byte_limit=524288, listen_host="127.0.0.1", listen_port=0, options={},
    )  # fmt: skip


@pytest.mark.parametrize(
    "argv",
    [
        ["--salloc-arg=--partition=devel", "--salloc-arg=--time=1:00"],
        ["--salloc-arg", "--partition=devel", "--salloc-arg", "--time=1:00"],
        ["-S", "--partition=devel", "-S", "--time=1:00"],
        ["-S--partition=devel", "-S--time=1:00"],
        ["--srun-arg=--partition=devel", "-S", "--time=1:00"],
    ],
)
def test_an_argument_of_salloc_may_begin_with_a_dash_however_it_is_passed(argv: list[str]) -> None:
    assert parse(*argv).salloc_args == ("--partition=devel", "--time=1:00")


def test_an_argument_of_salloc_and_its_value_may_be_two() -> None:
    assert parse("-S", "-p", "-S", "devel").salloc_args == ("-p", "devel")


def test_files_are_absolute_by_the_time_the_directory_may_change() -> None:
    asked = parse("-l", "log.[PID]", "-0", "/t/0", "--tee-stdout=1", "-2", "~/err")
    here, home = os.getcwd(), os.path.expanduser("~")
    assert asked.log_file == f"{here}/log.[PID]"
    assert asked.tee == ("/t/0", f"{here}/1", f"{home}/err")


def test_verbose_and_quiet_are_counted() -> None:
    assert parse("-vvv", "-q", "--verbose").verbosity == 3
    assert parse("-qq").verbosity == -2


def test_the_flags_of_the_listener_are_numbers() -> None:
    asked = parse("-b", "8", "-B", "4096", "-H", "localhost", "-p", "5000")
    assert (asked.backlog, asked.byte_limit) == (8, 4096)
    assert (asked.listen_host, asked.listen_port) == ("localhost", 5000)


@pytest.mark.parametrize("flag", ["-e", "--env", "--salloc-env", "--srun-env"])
def test_a_variable_of_either_case_is_copied_or_set(flag: str) -> None:
    asked = parse(flag, "http_proxy", flag, "Mixed=a=b", flag, "EMPTY=")
    assert asked.environment == (("http_proxy", None), ("Mixed", "a=b"), ("EMPTY", ""))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["-b", "many"], '-b/--backlog: "many" is no whole number from 1 to 65535'),
        (["-p", "65536"], '-p/--listen-port: "65536" is no whole number from 0 to 65535'),
        (["-B", "0"], '-B/--byte-limit: "0" is no whole number from 1 to'),
        (["-p", "\u0661"], '"\u0661" is no whole number'),
        (["-H", "a b"], '-H/--listen-host: "a b" is no address'),
        (["-l", ""], "-l/--log-file: must name a file"),
        (["-l"], "-l/--log-file: expected one argument"),
        (["-S"], "-S/--salloc-arg/--srun-arg: expected one argument"),
        (["-e", "2x=1"], '"2x" is no name of a variable; write NAME or NAME=VALUE'),
        (["--mode", "fast"], '--mode: "fast" is not one of relay, direct'),
        (["--verbos"], '--verbos: unknown option; did you mean "--verbose"?'),
        (["--prof", "gpu"], '--prof: unknown option; did you mean "--profile"?'),
        (["--partition=devel"], "--partition=devel: is an option of Slurm's; write -S --partition"),
        (["devel"], "devel: is no option"),
        (["-S", "--time", "4:00:00"], "4:00:00: stands alone; write -S --time=4:00:00"),
        (["--salloc-arg=-t", "4:00:00"], "4:00:00: stands alone; write -S --time=4:00:00"),
        (["-S--part", "devel"], "devel: stands alone; write -S --partition=devel"),
        (["--time", "4:00:00"], "--time: is an option of Slurm's; write -S --time=4:00:00"),
        (["-l", "4", "-S", "-N", "4"], "4: stands alone; write -S --nodes=4"),
        (["-S", "--time=4", "devel"], "devel: is no option"),
        (["-S", "--contiguous", "devel"], "devel: is no option"),
        (["-S", "--"], '-S: "--" means nothing here'),
        (["--env=--"], '--env=--: "--" means nothing here'),
        (["--"], '--: "--" means nothing here'),
    ],
)
def test_a_wrong_argument_is_one_line_that_names_it(argv: list[str], said: str) -> None:
    assert said in refusal(*argv)


@pytest.mark.parametrize("flag", ["-g", "--group", "--workgroup"])
def test_a_workgroup_needs_the_plugin(flag: str) -> None:
    assert "this site has no workgroup plugin" in refusal(flag, "it_nss")


def test_a_plugin_adds_options() -> None:
    def parser() -> Parser:
        made = Parser()
        add = made.site_options("mine").add
        add("-g", "--group", name="group", metavar="GROUP", meaning="100 % of the group")
        add("--gpu", name="gpu", meaning="with a GPU")
        add("--bind", name="binds", metavar="DIR", meaning="repeatable", repeatable=True)
        return made

    asked = parser().parse(["-g", "it_nss", "--gpu", "--bind", "/a", "--bind", "/b"])
    assert asked.options == {"group": "it_nss", "gpu": True, "binds": ("/a", "/b")}
    assert parser().parse([]).options == {"group": None, "gpu": False, "binds": ()}
    assert "100 % of the group" in parser().help()


def test_an_option_that_is_taken_is_the_plugins_fault() -> None:
    parser = Parser()
    parser.site_options("one").add("--gpu", name="gpu", meaning="one")
    with pytest.raises(ConfigError, match="plugin two: argument --gpu: conflicting option"):
        parser.site_options("two").add("--gpu", name="gpu2", meaning="two")
    with pytest.raises(ConfigError, match="plugin two: an option gpu is plugin one's"):
        parser.site_options("two").add("--gpu2", name="gpu", meaning="two")
    with pytest.raises(ConfigError, match="plugin two: "):
        parser.site_options("two").add("gpu", name="gpu3", meaning="two")
    with pytest.raises(ConfigError, match="plugin two: argument -v"):
        parser.site_options("two").add("-v", name="v", meaning="two")


def test_the_help_shows_a_researcher_what_to_write() -> None:
    text = Parser().help()
    assert "RemoteCommand vscode-shell-proxy -S --partition=devel" in text
    assert "==SUPPRESS==" not in text
    assert "--workgroup" not in text


def test_the_help_says_in_sentences_what_becomes_of_log_files() -> None:
    text = " ".join(Parser().help().split())
    assert 'A "[PID]" in the name of a FILE becomes the process id.' in text
    assert "Tokens are left out of what is written." in text


def test_a_log_file_is_found_among_options_that_nobody_knows() -> None:
    assert Parser().log_file(["--unknown", "x", "-l", "/tmp/log", "-S", "-p"]) == "/tmp/log"
    assert Parser().log_file(["-b", "wrong", "-l", "/tmp/log"]) == ""
