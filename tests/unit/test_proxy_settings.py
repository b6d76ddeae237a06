"""proxy.toml: what is read, and that everything wrong is told at once, key by key."""

from __future__ import annotations

import pytest

from vscadmin.errors import ConfigError, Exit
from vscadmin.proxy.limits import Limits
from vscadmin.proxy.settings import NOBODY_NAMED, Profile, ProxySettings, contact_in, parse

FULL = """
version = 1
contact = "hpc-help@example.edu"
mode = "direct"
launcher = "srun"
salloc_args = ["--time=2:00:00", "-pdevel"]
plugins = ["workgroup", "x11"]
plugin_dirs = ["/opt/plugins"]
default_profile = "gpu"
relay_address = "10.1.0.4"
relay_ports = "50000-51000"
python = ["/opt/python/bin/python3"]
allow_direct = true
direct_bind = "any"
listen_backlog = 64

[environment]
LANG = "C.UTF-8"

[profile.gpu]
description = "one GPU"
salloc_args = ["--gpus=1"]
mode = "relay"
launcher = "salloc"
environment = { CUDA_CACHE_DISABLE = "1" }

[limits]
time = "8h"
nodes = 1
cpus = 16
gpus = 2
memory = "64GiB"
partitions = ["devel", "gpu"]
accounts = ["a"]
qos = ["normal"]
modes = ["relay", "direct"]

[plugin.workgroup]
default = "it_nss"
"""


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(f"version = 1\n{text}".encode(), "p.toml")
    assert caught.value.exit_code is Exit.BAD_CONFIGURATION
    return caught.value.problems


def test_every_key_is_read() -> None:
    found = parse(FULL.encode(), "p.toml")
    assert found.given == set(ProxySettings._fields) - {"source", "given"}
    assert found.limits == Limits(
        time=8 * 3600, nodes=1, cpus=16, gpus=2, memory=64 << 30, partitions=("devel", "gpu"),
        accounts=("a",), qos=("normal",), modes=("relay", "direct"),
    )  # fmt: skip
    assert found.profile["gpu"] == Profile(
        "one GPU", ("--gpus=1",), "relay", "salloc", {"CUDA_CACHE_DISABLE": "1"}
    )
    assert (found.relay_ports, found.python) == ((50000, 51000), ("/opt/python/bin/python3",))
    assert found.plugin == {"workgroup": {"default": "it_nss"}}


def test_a_file_of_its_version_alone_changes_nothing() -> None:
    assert parse(b"version = 1", "") == ProxySettings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('launchr = "srun"', 'launchr: unknown key; did you mean "launcher"?'),
        ('launcher = "sruns"', 'launcher: "sruns" is not one of salloc, srun, shell; did you mean'),
        ("mode = 1", "mode: 1 is not one of relay, direct"),
        ('allow_direct = "yes"', 'allow_direct: must be true or false, not "yes"'),
        ("listen_backlog = 0", "listen_backlog: must be a whole number from 1 to 65535, not 0"),
        ("listen_backlog = true", "listen_backlog: must be a whole number"),
        ('salloc_args = "-p"', 'salloc_args: must be a list, not "-p"'),
        ('salloc_args = ["-p"]', "salloc_args[1]: -p: needs a value"),
        ('salloc_args = ["-pa", "devel"]', "salloc_args[2]: devel: is no option of Slurm's"),
        ('salloc_args = ["--pty"]', "salloc_args[1]: --pty: would change the shell's output"),
        ("salloc_args = [1]", "salloc_args[1]: must be a string like"),
        ('relay_ports = "51000-50000"', "relay_ports: \"51000-50000\" is no range of ports"),
        ('relay_ports = "80-90"', "relay_ports: \"80-90\" is no range of ports from 1024"),
        ('relay_address = "0.0.0.0"', 'relay_address: "0.0.0.0" is no address of one interface'),
        ('relay_address = "login1"', 'relay_address: "login1" is no address of one interface'),
        ('python = ["python3"]', 'python[1]: "python3" must be an absolute path'),
        ('plugin_dirs = ["site"]', 'plugin_dirs[1]: "site" must be an absolute path'),
        ('plugins = ["x11", "x11"]', 'plugins[2]: "x11" stands twice'),
        ('plugins = ["../x11"]', 'plugins[1]: "../x11" is no name'),
        ('contact = ""', "contact: must say whom users ask"),
        ('contact = "a\\u001b[31m"', "contact: must be one line without control characters"),
        ('[environment]\nA-B = "1"', "environment.A-B: the name must be a variable's"),
        ("[environment]\nA = 1", "environment.A: must be a string, not 1"),
        ('[profile.gpu]\nmod = "relay"', 'profile.gpu.mod: unknown key; did you mean "mode"?'),
        ('[profile."a b"]', "profile.a b: the name must be letters, digits"),
        ('profile = "gpu"', 'profile: must be a table, not "gpu"'),
        ('plugin = ["x11"]', 'plugin: must be a table, not [\'x11\']; did you mean "plugins"?'),
        ("[plugins.x11]", "plugins: must be a list, not {'x11': {}}; did you mean \"plugin\"?"),
        ('default_profile = "gpu"', "default_profile: there is no [profile.gpu]"),
        ('default_profile = "gup"\n[profile.gpu]', '[profile.gup]; did you mean "gpu"?'),
        ('[limits]\ntime = "8:00:00"', 'limits.time: "8:00:00" is no duration'),
        ('[limits]\nmemory = "64G"', 'limits.memory: "64G" is no size'),
        ('[limits]\nmodes = ["fast"]', 'limits.modes[1]: "fast" is not one of relay, direct'),
        ('[plugin.x11]\na = 1', "plugin.x11: is not in plugins"),
        ('plugins = ["x11"]\n[plugin.x1]', 'plugin.x1: is not in plugins; did you mean "x11"?'),
        ("[plugin]\nx11 = 1", "plugin.x11: must be a table, not 1"),
        (
            'salloc_args = ["--time=9:00:00"]\n[limits]\ntime = "8h"',
            "salloc_args: --time=9:00:00: limits allow at most 8h",
        ),
        (
            '[profile.big]\nsalloc_args = ["-N4"]\n[limits]\nnodes = 2',
            "profile.big.salloc_args: -N4: limits allow at most 2 nodes",
        ),
        ("mode =", "is no TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(text: str, said: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith("p.toml: ")
    assert said in problem


@pytest.mark.parametrize("text", ["plugin = [1]", "plugin.x11 = 1", 'salloc_args = ["x"]'])
def test_no_other_key_is_named_where_the_value_would_not_fit_it(text: str) -> None:
    (problem,) = problems(text)
    assert "did you mean" not in problem


def test_all_that_is_wrong_is_told_at_once() -> None:
    found = problems('mode = "x"\nlaunch = "y"\n[limits]\ncpus = -1\n[profile.a]\nmode = 3')
    assert [each.split(": ")[1] for each in found] == [
        "mode", "launch", "limits.cpus", "profile.a.mode",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "version = 2", 'version = "1"', "version = true"])
def test_the_version_is_required(text: str) -> None:
    with pytest.raises(ConfigError, match=r"p.toml: version: must be 1"):
        parse(text.encode(), "p.toml")


def test_a_default_profile_is_not_missed_where_the_profiles_are_wrong() -> None:
    found = problems('default_profile = "gpu"\n[profile.gpu]\nmode = "x"')
    assert [each.split(": ")[1] for each in found] == ["profile.gpu.mode"]


@pytest.mark.parametrize(
    ("text", "contact"),
    [
        (b'version = 9\ncontact = "help@example.edu"\nmode = [', "help@example.edu"),
        (b"  contact='help desk'  # comment", "help desk"),
        (b"\xff\xfe\ncontact = \"a\xff\"", "a\\xff"),
        (b'contact = "a\x1b[2J"', "a\\x1b[2J"),
        (b"# contact nobody", NOBODY_NAMED),
        (b"", NOBODY_NAMED),
    ],
)  # fmt: skip
def test_whom_to_ask_is_found_in_a_broken_file(text: bytes, contact: str) -> None:
    assert contact_in(text) == contact
