"""What goes to the compute node: it has to run there, and to be told from what it finds there."""

from __future__ import annotations

import ast
import marshal
import os
import shutil
import subprocess
import sys
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vscadmin.proxy import boot
from vscadmin.proxy.boot import HelloReader, TrailerReader

MARK = b"0123456789abcdef0123456789abcdef"
PROXY = Path(boot.__file__).parent
SENT = (*boot.MODULES, "agent")
SHELLS = [["dash"], ["bash", "--posix"]]
LINE = MARK + b" 10.77.0.11 c1 42 10.77.0.21 a70d0d0a\n"


@pytest.mark.parametrize("name", SENT)
def test_the_agent_is_written_in_python_3_6(name: str) -> None:
    """RHEL 8's platform-python is 3.6; what is newer than the grammar is looked for below."""
    tree = ast.parse((PROXY / f"{name}.py").read_text(), feature_version=(3, 6))
    for node in ast.walk(tree):
        assert not isinstance(node, ast.NamedExpr | ast.Match), ast.dump(node)
        if isinstance(node, ast.FunctionDef):
            assert not node.args.posonlyargs, node.name
            hints = [argument.annotation for argument in (*node.args.args, *node.args.kwonlyargs)]
            for hint in (*hints, node.returns):
                if hint is not None:  # evaluated when the function is defined
                    assert not any(
                        isinstance(each, ast.BinOp | ast.Subscript) for each in ast.walk(hint)
                    ), node.name


@pytest.mark.parametrize("name", SENT)
def test_the_agent_imports_little_and_each_module_after_its_own(name: str) -> None:
    """Typing and dataclasses cost more than the agent itself; the order is that of sending."""
    tree = ast.parse((PROXY / f"{name}.py").read_text())
    typing_only = {
        id(inner) for node in tree.body if isinstance(node, ast.If) for inner in ast.walk(node)
    }
    before = {f"vscadmin.proxy.{each}" for each in SENT[: SENT.index(name)]}
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("vscadmin"):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            assert node.module in before or names <= before
        elif isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            assert str(module).partition(".")[0] in sys.stdlib_module_names
            assert module not in {"typing", "dataclasses", "subprocess", "asyncio", "tempfile"}


@pytest.mark.parametrize("magic", [None, int.from_bytes(MAGIC_NUMBER, "big")])
def test_the_bundle_runs_where_nothing_is_installed(magic: int | None) -> None:
    """The modules find each other, compiled or not, and the order reaches main."""
    order = {"key": b"\0" * 32, "mark": MARK.decode(), "address": "127.0.0.1", "port": 1}
    order |= {"environment": {}, "shell": (), "forwards": (), "scancel": False}
    source = boot.agent_source(order, magic)
    size, _, data = source.partition(b" ")
    assert int(size) == len(data)
    text, _, _ = marshal.loads(data)  # noqa: S302 - our own
    start = "import marshal, sys; text, modules, order = marshal.load(sys.stdin.buffer); exec(text)"
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", start], input=data, capture_output=True, check=False
    )
    assert "module(" in text
    assert run.returncode == 69
    assert b"cannot reach 127.0.0.1:1: Connection refused" in run.stderr


@given(st.binary(max_size=200).filter(lambda noise: MARK not in noise), st.binary(max_size=50))
def test_a_hello_is_found_behind_noise_however_it_is_cut(noise: bytes, rest: bytes) -> None:
    for cut in range(0, len(noise + LINE), 7):
        reader = HelloReader(MARK)
        data = noise + LINE
        found = reader.feed(data[:cut]) or reader.feed(data[cut:] + rest)
        assert found is not None
        hello, after = found
        assert after == rest
        assert (hello.login_address, hello.node, hello.job) == ("10.77.0.11", "c1", 42)
        assert hello.address == "10.77.0.21"
        assert hello.python == 0xA70D0D0A


def test_a_hello_of_a_plain_shell_names_no_job() -> None:
    found = HelloReader(MARK).feed(MARK + b" 127.0.0.1 login1 - 127.0.0.1 none\r\n")
    assert found is not None
    assert (found[0].job, found[0].python) == (None, None)


def test_a_prolog_without_an_end_is_given_up() -> None:
    reader = HelloReader(MARK)
    with pytest.raises(ValueError, match="no end"):
        reader.feed(b"x" * 100_000)


@given(st.lists(st.binary(max_size=30), max_size=10), st.integers(0, 255))
def test_a_status_behind_the_output_is_found_and_nothing_else_is_lost(
    pieces: list[bytes], status: int
) -> None:
    output = b"".join(pieces)
    reader, passed = TrailerReader(MARK), b""
    for piece in [*pieces, b"\001" + MARK[:9], MARK[9:] + b" %d\n" % status]:
        passed += reader.feed(piece)
    rest, found = reader.end()
    assert passed + rest == output
    assert found == status


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_output_without_a_status_comes_whole(pieces: list[bytes]) -> None:
    reader = TrailerReader(MARK)
    passed = b"".join(map(reader.feed, pieces))
    rest, status = reader.end()
    assert passed + rest == b"".join(pieces)
    assert status is None


def test_output_that_is_no_trailer_is_not_held_back() -> None:
    assert TrailerReader(MARK).feed(b"$ ") == b"$ "
    assert TrailerReader(MARK).feed(b"\001\002") == b"\001\002"


# A node without Python.


def step_without_python(shell: list[str], answer: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run the script where it knows of no Python, with *answer* and more on its stdin."""
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} here")
    _, text, mark, *_ = boot.script(MARK.decode(), ())
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "SLURM_CPU_BIND": "none"}
    return subprocess.run(
        [*shell, "-c", text, mark],
        input=answer, capture_output=True, check=False, env={**environment, "GONE": "here"},
    )  # fmt: skip


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@settings(max_examples=15)
@given(
    st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"\0", b"\n")), max_size=3),
    st.binary(max_size=20).map(lambda data: data.replace(b"\0", b"\n")),
)
def test_what_is_set_arrives_as_it_is_and_what_follows_is_the_shells(
    shell: list[str], values: list[bytes], inside: bytes
) -> None:
    names = [f"NAME_{number}" for number in range(len(values))]
    wanted = {name: os.fsdecode(value) for name, value in zip(names, values, strict=True)}
    script = "".join(f'printf "<%s>" "${name}"; ' for name in names)
    prefix = ["env", f"INSIDE={os.fsdecode(inside)}"]
    answer = boot.answer_without_agent(MARK.decode(), wanted | {"GONE": None}, prefix)
    rest = script + 'printf "<%s>" "$INSIDE" "$GONE" "$SLURM_CPU_BIND"; exit 7\n'
    done = step_without_python(shell, answer + rest.encode())
    _, _, output = done.stdout.partition(b" none\n")
    expected = b"".join(b"<%s>" % value for value in [*values, inside, b"", b""])
    assert output == expected + b"\001%s 7\n" % MARK, done.stderr


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize(
    "answer",
    [b"", b"mark 1\necho no\n", MARK + b" 2\necho no\n", MARK + b"\necho no\n"],
    ids=["none", "another mark", "cut off", "without a number"],
)
def test_an_answer_that_is_not_ours_or_not_whole_starts_nothing(
    shell: list[str], answer: bytes
) -> None:
    done = step_without_python(shell, answer)
    assert done.returncode == 69
    assert done.stdout.endswith(b" none\n")


def test_the_script_holds_nothing_that_differs_from_session_to_session() -> None:
    """It is an argument, which everybody can read."""
    assert boot.script("one", ())[1] == boot.script("two", ("/opt/python3",))[1]
