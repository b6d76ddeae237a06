"""docs/proxy-toml.md and docs/site-plugins.md name every key, hook and setting, and no other."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.contract.markdown import DOCS, ROOT, code_blocks, in_backquotes, keys_of, section
from vscadmin.proxy import plugins, site
from vscadmin.proxy.launch import Launch
from vscadmin.proxy.limits import Limits
from vscadmin.proxy.prepare import prepare
from vscadmin.proxy.settings import NOBODY_NAMED, SCHEMA, Profile, ProxySettings, parse
from vscadmin.proxy.slurm_args import REFUSED
from vscadmin.sites import SessionRequest, SiteSpec

SETTINGS = DOCS / "proxy-toml.md"
PLUGINS = DOCS / "site-plugins.md"
TABLES = {"environment": "`[environment]`", "plugin": "`[plugin.NAME]`"}
TABLES |= {"profile": "`[profile.NAME]`", "limits": "`[limits]`"}


def documented(heading: str) -> dict[str, list[str]]:
    return {row[0]: row for row in keys_of(section(SETTINGS, heading))}


def test_every_key_is_explained() -> None:
    assert documented("Top level").keys() == {"version", *SCHEMA} - TABLES.keys()
    assert documented(TABLES["profile"]).keys() == set(Profile._fields)
    assert documented(TABLES["limits"]).keys() == set(Limits._fields)
    assert all(section(SETTINGS, heading) for heading in TABLES.values())


def test_the_defaults_are_as_documented() -> None:
    """Write a file of them and read it; a key without one is left out."""

    def lines(heading: str) -> str:
        keys = documented(heading).values()
        return "\n".join(f"{key} = {default.strip('`')}" for key, _, default, *_ in keys
                         if default.startswith("`"))  # fmt: skip

    text = f"{lines('Top level')}\n[limits]\n{lines(TABLES['limits'])}"
    text += f"\n[profile.x]\n{lines(TABLES['profile'])}"
    found = parse(text.encode(), "")
    assert found._replace(given=frozenset(), profile={}) == ProxySettings()
    assert found.profile["x"] == Profile()
    assert found.contact == NOBODY_NAMED


def test_every_example_of_a_file_is_right() -> None:
    (example,) = code_blocks(SETTINGS.read_text(encoding="utf-8"), "toml")
    assert set(parse(example.encode(), "docs").profile) == {"small", "gpu"}


def test_every_option_that_is_refused_is_named() -> None:
    text = section(SETTINGS, "What no session can run with").partition("With `launcher")[0]
    assert {word.lstrip("-") for word in in_backquotes(text)} == set(REFUSED)


# Plugins.


def test_every_hook_is_explained_with_its_parameters() -> None:
    table = [row[0] for row in keys_of(section(PLUGINS, "Hooks"))]
    spec = {name: vars(SiteSpec)[name].__code__ for name in plugins.HOOKS}
    signatures = [
        f"{name}({', '.join(code.co_varnames[1 : code.co_argcount])})"
        for name, code in spec.items()
    ]
    assert sorted(table) == sorted(signatures)


def test_the_hooks_stand_in_the_order_of_their_specification() -> None:
    table = [row[0].partition("(")[0] for row in keys_of(section(PLUGINS, "Hooks"))]
    assert table == [name for name in vars(SiteSpec) if name in plugins.HOOKS]


def test_every_attribute_of_a_request_is_explained() -> None:
    table = [row[0] for row in keys_of(section(PLUGINS, "SessionRequest"))]
    assert table == [each.name for each in fields(SessionRequest)]


def defaults_of(name: str) -> dict[str, Any]:
    found = plugins.find([f"{site.installed_dir()}/{name}.py"], site.owners())
    assert found
    hook = getattr(plugins.load(name, *found), "default_settings", dict)
    return dict(hook())


def test_every_shipped_plugin_is_listed_with_its_settings() -> None:
    table = keys_of(section(PLUGINS, "Those that come with vscadmin"))
    assert {row[0] for row in table} == {path.stem for path in (ROOT / "site-plugins").glob("*.py")}
    for name, _, settings in table:
        said = tomllib.loads("\n".join(each for each in in_backquotes(settings) if " = " in each))
        assert said == defaults_of(name), name


@pytest.fixture
def at(tmp_path: Path) -> Path:
    """Write the page's plugin and its proxy.toml as it says."""
    text = PLUGINS.read_text(encoding="utf-8")
    name = re.search(r"`/etc/vscadmin/site-plugins/(\w+\.py)`", text)
    assert name
    (tmp_path / "site-plugins").mkdir()
    (tmp_path / "site-plugins" / name[1]).write_text(code_blocks(text, "python")[0])
    (tmp_path / "proxy.toml").write_text(code_blocks(text, "toml")[0])
    return tmp_path / "proxy.toml"


def test_the_plugin_of_the_page_does_what_the_page_says(
    at: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getgid", lambda: 0)
    found = prepare(["-S", "--account=other"], "/it", {"PATH": "/bin"}, str(at))
    assert isinstance(found, Launch)
    accounts = [word for word in found.command if word.startswith("--account")]
    assert accounts == ["--account=root", "--account=other"]


def test_an_option_is_added_as_the_page_says(at: Path) -> None:
    (example,) = re.findall(r"`(options\.add\(.*?\))` adds", section(PLUGINS, "Hooks"))
    hook = f"from vscadmin.sites import hookimpl\n@hookimpl\ndef options(options):\n    {example}\n"
    (at.parent / "site-plugins" / "group_account.py").write_text(hook)
    at.write_text('version = 1\nplugins = ["group_account"]')
    assert isinstance(prepare(["-g", "x"], "/it", {}, str(at)), Launch)
