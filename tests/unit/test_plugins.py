"""Site plugins: which files are believed, what is loaded, and what a wrong one leads to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vscadmin.errors import ConfigError, Exit
from vscadmin.proxy import plugins, site
from vscadmin.proxy.hooks import Plugins
from vscadmin.proxy.launch import Launch
from vscadmin.proxy.plugins import PluginError
from vscadmin.proxy.prepare import Said, prepare
from vscadmin.proxy.settings import parse
from vscadmin.sites import SessionRequest, SiteSpec

HEAD = "from vscadmin.sites import Forward, UsageError, hookimpl\n"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/home/ada", "SSH_AUTH_SOCK": "/tmp/agent"}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what writes a plugin, and a proxy.toml that names all those written so far."""
    folder = tmp_path / "site-plugins"
    folder.mkdir()
    folder.chmod(0o755)
    names: list[str] = []

    def one(name: str, source: str, more: str = "") -> Path:
        path = folder / f"{name}.py"
        path.write_text(HEAD + source, encoding="utf-8")
        path.chmod(0o644)
        names.append(name)
        text = f'version = 1\ncontact = "help@example.edu"\nplugins = {names}\n{more}'
        (tmp_path / "proxy.toml").write_text(text, encoding="utf-8")
        (tmp_path / "proxy.toml").chmod(0o644)
        return path

    return one


def session(tmp_path: Path, *argv: str) -> Launch:
    found = prepare(argv, "/nowhere/it", ENVIRONMENT, str(tmp_path / "proxy.toml"))
    assert isinstance(found, Launch)
    return found


def problem(tmp_path: Path, *argv: str) -> str:
    with pytest.raises(ConfigError) as caught:
        prepare(argv, "/nowhere/it", ENVIRONMENT, str(tmp_path / "proxy.toml"))
    (line,) = caught.value.problems
    assert caught.value.exit_code is Exit.BAD_CONFIGURATION
    assert line.endswith("; no session can start: please tell help@example.edu")
    return line


def hook(body: str, signature: str = "salloc_arguments(request)") -> str:
    return f"@hookimpl\ndef {signature}:\n    {body}\n"


# Which files are believed.


def test_a_plugin_is_loaded_from_beside_the_configuration(write: Write, tmp_path: Path) -> None:
    write("mine", hook("return ['--time=60']"))
    assert "--time=60" in session(tmp_path).command


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_plugin_that_others_can_write_is_refused(write: Write, tmp_path: Path, mode: int) -> None:
    path = write("mine", hook("return []"))
    path.chmod(mode)
    assert f"{path}: its group or others can write it" in problem(tmp_path)


def test_a_plugin_in_a_directory_that_others_can_write_is_refused(
    write: Write, tmp_path: Path
) -> None:
    path = write("mine", hook("return []"))
    path.parent.chmod(0o777)
    assert f"{path.parent}: its group or others can write it" in problem(tmp_path)


def test_a_link_to_a_plugin_is_not_followed(write: Write, tmp_path: Path) -> None:
    path = write("mine", hook("return []"))
    path.rename(tmp_path / "other.py")
    path.symlink_to(tmp_path / "other.py")
    assert f"{path}: is a symbolic link, which is not followed" in problem(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_plugin_of_another_user_is_refused(write: Write, tmp_path: Path) -> None:
    path = write("mine", hook("return []"))
    os.chown(path, 4321, 4321)
    assert f"{path}: belongs to uid 4321, not to root" in problem(tmp_path)


def test_what_is_no_file_is_refused_and_not_waited_for(write: Write, tmp_path: Path) -> None:
    path = write("mine", hook("return []"))
    path.unlink()
    os.mkfifo(path, 0o644)
    assert f"{path}: is no regular file" in problem(tmp_path)


def test_a_configuration_that_others_can_write_starts_nothing(write: Write, tmp_path: Path) -> None:
    write("mine", hook("return []"))
    (tmp_path / "proxy.toml").chmod(0o666)
    assert "proxy.toml: its group or others can write it" in problem(tmp_path)


def test_a_plugin_that_is_nowhere_is_told_with_the_one_that_was_meant(
    write: Write, tmp_path: Path
) -> None:
    write("workgrup", "").unlink()
    line = problem(tmp_path)
    assert "plugins: there is no workgrup.py in " in line
    assert 'did you mean "workgroup"?' in line


def test_neither_directory_nor_environment_add_a_place_to_look(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("mine", hook("return []"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path.rename(elsewhere / path.name)
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("HOME", str(elsewhere))
    monkeypatch.setenv("PYTHONPATH", str(elsewhere))
    assert "there is no mine.py" in problem(tmp_path)


# Without a configuration: the file beside the command.


def beside(command: Path, argument: str) -> None:
    command.parent.mkdir(parents=True, exist_ok=True)
    path = command.with_name("vscode-shell-proxy-local.py")
    path.write_text(HEAD + hook(f"return ['{argument}']"), encoding="utf-8")
    path.chmod(0o644)


def local(tmp_path: Path, invoked_as: str) -> Launch:
    found = prepare([], invoked_as, ENVIRONMENT, str(tmp_path / "none.toml"))
    assert isinstance(found, Launch)
    return found


def test_the_file_beside_the_link_comes_before_the_one_beside_its_target(tmp_path: Path) -> None:
    target, link = tmp_path / "opt" / "it", tmp_path / "bin" / "it"
    beside(target, "--time=1")
    link.parent.mkdir()
    link.symlink_to(target)
    target.touch()
    assert "--time=1" in local(tmp_path, str(link)).command
    beside(link, "--time=2")
    assert "--time=2" in local(tmp_path, str(link)).command


def test_the_local_file_is_no_less_checked(tmp_path: Path) -> None:
    command = tmp_path / "bin" / "it"
    beside(command, "--time=1")
    command.with_name("vscode-shell-proxy-local.py").chmod(0o666)
    with pytest.raises(ConfigError, match="its group or others can write it"):
        local(tmp_path, str(command))


def test_a_relative_command_finds_nothing_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside(tmp_path / "it", "--time=1")
    monkeypatch.chdir(tmp_path)
    assert "--time=1" not in local(tmp_path, "./it").command
    assert "--time=1" not in local(tmp_path, "it").command


def test_a_configuration_puts_the_local_file_out_of_use(write: Write, tmp_path: Path) -> None:
    write("mine", hook("return []"))
    beside(tmp_path / "it", "--time=1")
    found = prepare([], str(tmp_path / "it"), ENVIRONMENT, str(tmp_path / "proxy.toml"))
    assert isinstance(found, Launch)
    assert "--time=1" not in found.command


# What a wrong plugin leads to.


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def (", "line 2: invalid syntax"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "called sys.exit(3)"),
        (hook("return []", "salloc_argument(request)"),
         'there is no hook salloc_argument; did you mean "salloc_arguments"?'),
        ("def salloc_arguments(request):\n    return []\n" + hook("pass", "notes(request)"),
         "salloc_arguments: is not marked with @hookimpl"),
        ("def wrap_launchr(request, command):\n    pass\n" + hook("pass", "notes(request)"),
         'wrap_launchr: is not marked with @hookimpl; did you mean "wrap_launcher"?'),
        ("x = 1", "has no hook"),
        ("@hookimpl(wrapper=True)\ndef notes(request):\n    return (yield)\n",
         "hooks that wrap others are not supported"),
        (hook("return []", "salloc_arguments(req)"), "PluginValidationError"),
        (hook("return 1"), "salloc_arguments: must return a list of strings, not 1"),
        (hook("return 'x'"), 'salloc_arguments: must return a list of strings, not "x"'),
        (hook("return {}['key']"), "salloc_arguments: KeyError: 'key'"),
        (hook("import sys; sys.exit('bye')"), "salloc_arguments: called sys.exit(bye)"),
        (hook("return ['devel']"), "plugin mine: devel: is no option of Slurm's"),
        (hook("pass", "wrap_launcher(request, command)"), "wrap_launcher: must return"),
        (hook("return ['x', *command, 'y']", "wrap_launcher(request, command)"),
         "wrap_launcher: must end with the command that it was given"),
        (hook("return ['salloc', '-n1']", "allocation_command(request)"),
         "salloc runs its command on the login node"),
        (hook("return {1: 'x'}", "job_environment(request)"), "job_environment: must return"),
        (hook("return {'A=B': 'x'}", "job_environment(request)"), "job_environment: must return"),
        (hook("return [Forward('A', 'relative')]", "forwards(request)"), "forwards: must return"),
        (hook("return {'a': None}", "default_settings()"), "default_settings: a: None is of no"),
        (hook("options.add('-v', name='x', meaning='x')", "options(options)"), "conflicting"),
        (hook("raise ValueError('two\\nlines \\x1b[31m')"), "ValueError: two lines \\x1b[31m"),
    ],
)  # fmt: skip
def test_a_wrong_plugin_is_one_line_that_names_it(
    write: Write, tmp_path: Path, source: str, said: str
) -> None:
    write("mine", source)
    line = problem(tmp_path)
    assert line.startswith("plugin mine: ")
    assert said in line


def test_all_plugins_that_are_wrong_are_told_to_the_admin(write: Write, tmp_path: Path) -> None:
    write("one", "x = 1")
    write("two", "1 / 0")
    text = (tmp_path / "proxy.toml").read_bytes()
    with pytest.raises(ConfigError) as caught:
        site.load(text, str(tmp_path / "proxy.toml"), "")
    assert len(caught.value.problems) == 2
    assert "(and 1 more)" in problem(tmp_path)


def wrong(tmp_path: Path) -> tuple[str, ...]:
    """Return what is wrong with the plugins, as an admin is told."""
    path = tmp_path / "proxy.toml"
    with pytest.raises(ConfigError) as caught:
        site.load(path.read_bytes(), str(path), "")
    return caught.value.problems


def test_each_forgotten_mark_is_told_once_and_nothing_is_guessed(
    write: Write, tmp_path: Path
) -> None:
    names = ("default_settings", "salloc_arguments")
    path = write("mine", "".join(f"def {name}():\n    return []\n" for name in names))
    assert wrong(tmp_path) == tuple(
        f"plugin mine: {path}: {name}: is not marked with @hookimpl" for name in names
    )


def test_of_a_wrong_function_one_thing_is_told(write: Write, tmp_path: Path) -> None:
    path = write("mine", "@hookimpl(wrapper=True)\ndef note():\n    return (yield)\n")
    words = 'there is no hook note; did you mean "notes"?'
    assert wrong(tmp_path) == (f"plugin mine: {path}: {words}",)


def test_the_traceback_goes_to_the_log_file_that_was_asked_for(
    write: Write, tmp_path: Path
) -> None:
    write("mine", hook("return {}['key']"))
    log = tmp_path / "log"
    assert "Traceback" not in problem(tmp_path, "-l", f"{log}.[PID]")
    written = log.with_name(f"log.{os.getpid()}")
    assert "KeyError: 'key'" in written.read_text(encoding="utf-8")
    assert written.stat().st_mode & 0o777 == 0o600


def test_a_log_file_that_others_could_read_is_closed_to_them_before_a_traceback_is_in_it(
    write: Write, tmp_path: Path
) -> None:
    write("mine", hook("return {}['key']"))
    log = tmp_path / "log"
    log.touch()
    log.chmod(0o644)
    problem(tmp_path, "-l", str(log))
    assert "KeyError: 'key'" in log.read_text(encoding="utf-8")
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_traceback_that_no_log_file_takes_is_left_out(write: Write, tmp_path: Path) -> None:
    """A FIFO that nobody reads would hold the session up, a link may point anywhere."""
    write("mine", hook("return {}['key']"))
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for name in ("fifo", "link", "missing/log"):
        assert "KeyError" in problem(tmp_path, "-l", f"{tmp_path}/{name}")
    assert not (tmp_path / "target").exists()


def test_a_hook_may_leave_out_what_it_does_not_need(write: Write, tmp_path: Path) -> None:
    write("mine", hook("return ['--time=60']", "salloc_arguments()"))
    assert "--time=60" in session(tmp_path).command


def test_a_private_function_is_no_hook(write: Write, tmp_path: Path) -> None:
    write("mine", hook("return _notes()", "notes()") + "def _notes():\n    return ['hello']\n")
    assert session(tmp_path).notes == ("hello",)


def test_what_a_plugin_prints_never_reaches_the_client(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write("mine", hook("print('hook')", "notes()") + "print('import')\n")
    session(tmp_path)
    assert capsys.readouterr() == ("", "import\nhook\n")


# Settings.

SETTINGS = hook(
    "return {'text': '', 'flag': False, 'number': 1, 'list': [], 'table': {}}",
    "default_settings()",
) + hook("return [repr(sorted(request.settings.items()))]", "notes(request)")


def test_a_plugin_gets_its_own_settings_with_defaults(write: Write, tmp_path: Path) -> None:
    write("one", SETTINGS)
    more = '[plugin.one]\ntext = "a"\n[plugin.two]\nnumber = 7\nlist = ["x"]\ntable = {a = "b"}'
    write("two", SETTINGS, more)
    one, two = session(tmp_path).notes
    assert "('text', 'a')" in one
    assert "('number', 1)" in one
    assert all(each in two for each in ("('number', 7)", "('list', ('x',))", "{'a': 'b'}"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("txt = 'a'", 'plugin.mine.txt: unknown key; did you mean "text"?'),
        ("text = 1", "plugin.mine.text: must be a string, not 1"),
        ("flag = 1", "plugin.mine.flag: must be true or false, not 1"),
        ("number = true", "plugin.mine.number: must be a whole number, not True"),
        ("list = ['a', 1]", "plugin.mine.list[2]: must be a string, not 1"),
        ("table = {a = 1}", "plugin.mine.table.a: must be a string, not 1"),
    ],
)
def test_a_wrong_setting_of_a_plugin_is_told_by_its_key(
    write: Write, tmp_path: Path, line: str, said: str
) -> None:
    write("mine", SETTINGS, f"[plugin.mine]\n{line}")
    assert f"proxy.toml: {said}" in problem(tmp_path)


def test_a_plugin_may_judge_its_settings(write: Write, tmp_path: Path) -> None:
    write("mine", SETTINGS + hook("return ['text: must not be']", "settings_problems(settings)"))
    assert "proxy.toml: plugin.mine.text: must not be" in problem(tmp_path)


def test_a_plugin_without_defaults_takes_no_settings(write: Write, tmp_path: Path) -> None:
    write("mine", hook("return []"), "[plugin.mine]\na = 1")
    assert "plugin.mine.a: unknown key" in problem(tmp_path)


# Order.


def test_the_later_wraps_what_the_earlier_built(write: Write, tmp_path: Path) -> None:
    for name in ("inner", "outer"):
        wraps = [f"return ['{name}', *command]", "wrap_launcher(request, command)"]
        write(name, hook(*wraps) + hook(wraps[0], "wrap_shell(request, command)"))
    found = session(tmp_path)
    assert found.command[:3] == ("outer", "inner", "salloc")
    assert found.shell == ("outer", "inner")


def test_the_later_sets_and_the_user_wins(write: Write, tmp_path: Path) -> None:
    write("one", hook("return {'A': '1', 'B': '1', 'C': '1'}", "job_environment()"))
    write("two", hook("return {'B': '2', 'C': None}", "job_environment()"))
    found = session(tmp_path, "-e", "C=3")
    assert found.job_environment == {"A": "1", "B": "2", "C": "3"}


def test_the_last_command_is_taken(write: Write, tmp_path: Path) -> None:
    write("one", hook("return ['srun', '--one']", "allocation_command()"))
    write("two", hook("return ['srun', '--two']", "allocation_command()"))
    write("three", hook("return None", "allocation_command()"))
    assert session(tmp_path).command[:2] == ("srun", "--two")


def test_the_interface_does_not_promise_the_first_command() -> None:
    """Pluggy's firstresult would; ours are all asked, and the last that has one is taken."""
    hooks = [getattr(SiteSpec, name) for name in plugins.HOOKS]
    assert not any(hook.vscadmin_spec["firstresult"] for hook in hooks)


def test_arguments_stand_in_the_order_in_which_they_win(write: Write, tmp_path: Path) -> None:
    forced = hook("return ['--time=3']", "forced_arguments()")
    write("mine", hook("return ['--time=1']", "salloc_arguments()") + forced)
    found = [word for word in session(tmp_path, "-S", "--time=2").command if "--time" in word]
    assert found == ["--time=1", "--time=2", "--time=3"]


def test_a_plugin_sees_what_is_decided_so_far(write: Write, tmp_path: Path) -> None:
    write("one", hook("return ['-pdevel']"))
    words = "return [f'{request.slurm_options[\"partition\"]} {request.user_options}']"
    write("two", hook(words, "notes(request)"))
    assert session(tmp_path, "-S", "-t5").notes == ("devel {'time': '5'}",)


def test_a_request_cannot_be_changed(write: Write, tmp_path: Path) -> None:
    write("mine", hook("request.environment['A'] = '1'"))
    assert "TypeError" in problem(tmp_path)


def test_a_refusal_is_one_line(write: Write, tmp_path: Path) -> None:
    write("mine", hook("return 'not on\\nSundays'", "refuse()"))
    with pytest.raises(Exception, match=r"^not on\\x0aSundays$") as caught:
        session(tmp_path)
    assert getattr(caught.value, "exit_code", None) is Exit.NOT_PERMITTED


def test_a_plugin_may_find_fault_with_its_option(write: Write, tmp_path: Path) -> None:
    write("mine", hook("raise UsageError('--x: too big')", "refuse()"))
    with pytest.raises(Exception, match=r"^--x: too big$") as caught:
        session(tmp_path)
    assert getattr(caught.value, "exit_code", None) is Exit.USAGE


def test_help_shows_the_options_of_plugins(write: Write, tmp_path: Path) -> None:
    write("mine", hook("options.add('--x', name='x', meaning='the X')", "options(options)"))
    found = prepare(["--help"], "/it", ENVIRONMENT, str(tmp_path / "proxy.toml"))
    assert isinstance(found, Said)
    assert "the X" in found.text


def test_every_hook_has_a_check_of_its_result() -> None:
    from vscadmin.proxy import hooks  # noqa: PLC0415 - what is private is only counted

    assert hooks._WANTED.keys() | {"options"} == plugins.HOOKS


def test_a_plugin_error_keeps_its_trace() -> None:
    error = plugins.failure("x", "refuse", ValueError("no"))
    assert isinstance(error, PluginError)
    assert error.problems == ("plugin x: refuse: ValueError: no",)
    assert "ValueError: no" in error.trace


def test_without_plugins_there_are_none() -> None:
    assert site.load(b"version = 1", "p.toml", "").plugins is None
    assert isinstance(Plugins({}), Plugins)
    assert parse(b"version = 1", "p").plugins == ()
    assert SessionRequest.__dataclass_params__.frozen  # type: ignore[attr-defined]
