"""What holds for every proxy.toml, every argument of salloc and every command line."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from vscadmin.cli.proxy_config import as_toml
from vscadmin.errors import ConfigError, UsageError
from vscadmin.proxy import slurm_args
from vscadmin.proxy.arguments import Parser
from vscadmin.proxy.launch import Launch, load
from vscadmin.proxy.limits import Limits, excesses, parse_memory, parse_time
from vscadmin.proxy.schema import Reader
from vscadmin.proxy.settings import (
    LAUNCHERS,
    MODES,
    SCHEMA,
    Profile,
    ProxySettings,
    contact_in,
    parse,
)

LINE = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=20)
LINE = LINE.filter(str.isprintable)
NAME = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
VARIABLES = st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True), LINE)
PATHS = st.lists(LINE.map("/{}".format), max_size=3).map(tuple)
ARGUMENTS = st.lists(LINE.map("--comment={}".format), max_size=3).map(tuple)
COUNT = st.none() | st.integers(1, 10**6)
PORTS = st.integers(1024, 65535).map(lambda first: (first, min(first + 99, 65535)))
PROFILE = st.builds(
    Profile, LINE, ARGUMENTS, st.sampled_from(["", *MODES]), st.sampled_from(["", *LAUNCHERS]),
    VARIABLES,
)  # fmt: skip
LIMITS = st.builds(
    Limits, COUNT, COUNT, COUNT, COUNT, COUNT, *[st.lists(LINE, max_size=2).map(tuple)] * 3,
    st.lists(st.sampled_from(MODES), max_size=2).map(tuple),
)  # fmt: skip
TABLE = st.dictionaries(
    LINE.filter(bool),
    LINE | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.lists(LINE)
    | st.dictionaries(LINE.filter(bool), LINE),
)  # fmt: skip


@st.composite
def described(draw: st.DrawFn) -> ProxySettings:
    """Return settings that some proxy.toml describes."""
    profiles = draw(
        st.dictionaries(
            st.from_regex(
                r"[A-Za-z0-9][\w.-]{0,6}", fullmatch=True, alphabet=st.characters(codec="ascii")
            ),
            PROFILE,
            max_size=3,
        )
    )
    plugins = draw(st.lists(NAME, max_size=3, unique=True))
    return ProxySettings(
        contact=draw(LINE.filter(bool)),
        mode=draw(st.sampled_from(MODES)),
        launcher=draw(st.sampled_from(LAUNCHERS)),
        salloc_args=draw(ARGUMENTS),
        environment=draw(VARIABLES),
        plugins=tuple(plugins),
        plugin_dirs=draw(PATHS),
        plugin={name: draw(TABLE) for name in plugins},
        default_profile=draw(st.sampled_from(["", *profiles])),
        profile=profiles,
        limits=draw(LIMITS),
        relay_address=draw(st.sampled_from(["", "10.0.0.1", "fe80::1"])),
        relay_ports=draw(PORTS | st.just((0, 0))),
        python=draw(PATHS),
        allow_direct=draw(st.booleans()),
        direct_bind=draw(st.sampled_from(["node", "any"])),
        listen_backlog=draw(st.integers(1, 65535)),
    )  # fmt: skip


@given(described())
def test_settings_that_are_printed_are_read_back(given_ones: ProxySettings) -> None:
    found = parse(as_toml(given_ones).encode(), "")
    assert found._replace(given=frozenset()) == given_ones


VALUE = st.recursive(
    LINE | st.integers() | st.booleans() | st.floats() | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(LINE, inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*SCHEMA, "unknown"]) | LINE, VALUE))
def test_any_values_are_read_or_told_each_by_its_key(data: dict[str, Any]) -> None:
    reader = Reader()
    found = reader.table(data, SCHEMA)
    wrong = {key for key in data if any(each.startswith(key) for each in reader.problems)}
    assert found.keys() | wrong == data.keys()
    assert len(found) == len(data) or reader.problems


@given(st.binary() | LINE.map(str.encode))
def test_any_bytes_are_a_file_or_its_errors(text: bytes) -> None:
    problems: tuple[str, ...] = ()
    try:
        parse(b"version = 1\n" + text, "p.toml")
    except ConfigError as error:
        problems = error.problems
    assert all(each.startswith("p.toml: ") for each in problems)
    assert contact_in(text).isprintable()


WORDS = st.lists(
    st.text(max_size=8)
    | st.sampled_from(["-p", "-pdevel", "-vc4", "--time=1", "--time", "--x11", "--nodes=1-4", "-N"])
    | st.sampled_from(sorted(slurm_args.LONG)).map("--{}".format),
    max_size=5,
)


@given(WORDS, st.integers(1, 9))
def test_any_arguments_of_salloc_are_read_or_told(words: list[str], most: int) -> None:
    try:
        asked = slurm_args.in_force(words)
    except ValueError:
        return
    assert all(each.text in " ".join(words) for each in asked.values())
    limits = Limits(most, most, most, most, most, ("devel",), ("a",), ("q",))
    assert all(each.option in asked.values() for each in excesses(asked, limits))


@given(st.integers(0, 400), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_a_time_means_the_same_however_it_is_written(d: int, h: int, m: int, s: int) -> None:
    whole = d * 86400 + h * 3600 + m * 60 + s
    texts = [f"{d}-{h}:{m}:{s}", f"{24 * d + h}:{m:02}:{s:02}", f"{(24 * d + h) * 60 + m}:{s:02}"]
    assert {parse_time(each) for each in texts} == {whole or float("inf")}


@given(st.text())
def test_any_text_is_a_quantity_of_slurms_or_an_error(text: str) -> None:
    for read in (parse_time, parse_memory):
        try:
            found = read(text)
        except ValueError:
            continue
        assert found > 0


FLAGS = st.sampled_from(
    [
        "-v",
        "-q",
        "-S",
        "-S--x11",
        "-e",
        "-eA",
        "-e=B",
        "-p",
        "-p1",
        "-l",
        "-lf",
        "--mode",
        "-b",
        "--",
    ]
)


@given(st.lists(FLAGS | st.text(max_size=5), max_size=6))
def test_any_command_line_is_understood_or_one_line(argv: list[str]) -> None:
    try:
        asked = Parser().parse(argv)
    except UsageError:
        return
    assert all(isinstance(each, str) for each in (*asked.salloc_args, *asked.tee, asked.log_file))


TEXT = st.text(st.characters())  # surrogates included: the environment is bytes
PLAIN = st.dictionaries(TEXT, TEXT | st.none())


@given(PLAIN, st.lists(TEXT).map(tuple), st.integers(), st.booleans())
def test_a_launch_comes_through_as_it_went_in(
    variables: dict[str, str | None], words: tuple[str, ...], number: int, flag: bool
) -> None:
    values: list[Any] = [words, variables, number, flag, (number, number)]
    given_one = Launch(*(values[index % 5] for index in range(len(Launch._fields))))
    assert load(given_one.dump()) == given_one
