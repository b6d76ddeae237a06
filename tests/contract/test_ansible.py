"""The roles say what they take, and write what the program reads and cron/ holds."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tests.contract.markdown import DOCS, ROOT
from vscadmin.config import parse_policy
from vscadmin.policy.settings import Mode
from vscadmin.proxy.settings import parse as parse_proxy
from vscadmin.version import __version__

ANSIBLE = ROOT / "ansible"
ROLES = ("vscadmin", "vscadmin_cleanup", "vscadmin_proxy")
PLAYBOOKS = sorted((ANSIBLE / "playbooks").glob("*.yml"))
OF_PLAYBOOKS = {"vscadmin_hosts", "vscadmin_serial"}
EVERYTHING = {
    "vscadmin_cleanup_mode": "enforce",
    "vscadmin_cleanup_smtp": "mail.example.edu:25",
    "vscadmin_cleanup_from": 'The "HPC" nodes <noreply@example.edu>',
    "vscadmin_cleanup_reply_to": "help@example.edu",
    "vscadmin_cleanup_address": "{user}@example.edu",
    "vscadmin_cleanup_admins": ["ops@example.edu"],
    "vscadmin_cleanup_help_url": "https://hpc.example.edu/vscode",
    "vscadmin_cleanup_templates": ["notice.txt.j2"],
    "vscadmin_cleanup_textfile_dir": "/var/lib/prometheus/node-exporter",
    "vscadmin_cleanup_fleet_nodes": "@login",
    "vscadmin_cleanup_fleet_snapshot": "/shared/vscadmin",
}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def options(role: str) -> dict[str, Any]:
    specs = load(ANSIBLE / "roles" / role / "meta" / "argument_specs.yml")
    found: dict[str, Any] = specs["argument_specs"]["main"]["options"]
    return found


def defaults(role: str) -> dict[str, Any]:
    found: dict[str, Any] = load(ANSIBLE / "roles" / role / "defaults" / "main.yml")
    return found


def rendered(role: str, template: str, **variables: object) -> str:
    """Fill in a template as Ansible does, which trims blocks."""
    folder = ANSIBLE / "roles" / role / "templates"
    environment = Environment(  # noqa: S701 - what is written is TOML
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["to_json"] = json.dumps
    return environment.get_template(template).render({**defaults(role), **variables})


def policy(**variables: object) -> str:
    return rendered("vscadmin_cleanup", "policy.toml.j2", **variables)


def generated() -> str:
    """Return the policy that `vscadmin config generate` prints."""
    command = [sys.executable, "-m", "vscadmin", "config", "generate"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_of_a_role_is_described_with_its_default(role: str) -> None:
    described = options(role)
    assert {name: each["default"] for name, each in described.items()} == defaults(role)
    assert all(each["description"] for each in described.values())
    assert all(name == role or name.startswith(f"{role}_") for name in described)


def test_the_example_inventory_names_variables_that_there_are() -> None:
    text = (ANSIBLE / "inventory.example" / "group_vars" / "login.yml").read_text()
    named = set(re.findall(r"(?m)^#? ?(vscadmin_\w+):", text))
    assert named <= {name for role in ROLES for name in options(role)}
    assert yaml.safe_load(text)["vscadmin_cleanup_mode"] == "observe"


def test_the_page_names_variables_that_there_are_and_every_playbook() -> None:
    text = (DOCS / "roll-out.md").read_text(encoding="utf-8")
    known = OF_PLAYBOOKS.union(*(options(role) for role in ROLES)) | set(ROLES)
    named = set(re.findall(r"\bvscadmin_[a-z_]+", text))
    assert named <= known
    assert set(options("vscadmin")) | OF_PLAYBOOKS <= named
    assert all(f"playbooks/{path.name}" in text for path in PLAYBOOKS)


def test_the_policy_of_the_role_is_the_one_that_is_generated() -> None:
    assert tomllib.loads(policy()) == tomllib.loads(generated())


def test_the_default_mode_is_observe() -> None:
    assert parse_policy(policy().encode(), "policy.toml").mode is Mode.OBSERVE


def test_every_variable_of_the_policy_arrives_in_it() -> None:
    found = parse_policy(policy(**EVERYTHING).encode(), "policy.toml")
    assert found.mode is Mode.ENFORCE
    written = tomllib.loads(policy(**EVERYTHING))
    assert written["notify"]["from"] == EVERYTHING["vscadmin_cleanup_from"]
    assert written["notify"]["templates"] == "/etc/vscadmin/templates"
    assert written["output"]["textfile"] == "/var/lib/prometheus/node-exporter/vscadmin.prom"
    assert written["fleet"] == {"nodes": "@login", "snapshot": "/shared/vscadmin"}


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_no_value_of_a_variable_becomes_another_line_of_the_policy(text: str) -> None:
    """But DEL, which TOML wants escaped and JSON does not: that policy is refused."""
    written = policy(vscadmin_cleanup_help_url=text)
    if "\x7f" in text:
        with pytest.raises(tomllib.TOMLDecodeError):
            tomllib.loads(written)
    else:
        assert tomllib.loads(written)["notify"]["help_url"] == text


def test_the_proxys_file_is_valid_as_it_stands_and_with_settings() -> None:
    for settings, contact in (("", "your administrators"), ('contact = "ops"\n', "ops")):
        text = rendered("vscadmin_proxy", "proxy.toml.j2", vscadmin_proxy_settings=settings)
        assert parse_proxy(text.encode(), "proxy.toml").contact == contact


@pytest.mark.parametrize(
    "name", ["vscadmin-cleanup", "vscadmin-cleanup.service", "vscadmin-cleanup.timer"]
)
def test_what_is_scheduled_is_what_is_in_cron(name: str) -> None:
    file = ANSIBLE / "roles" / "vscadmin_cleanup" / "files" / name
    assert file.resolve() == ROOT / "cron" / name


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="only where systemd is")
def test_the_services_drop_in_is_one_for_systemd(tmp_path: Path) -> None:
    text = rendered(
        "vscadmin_cleanup",
        "site.conf.j2",
        vscadmin_cleanup_textfile_dir="/var/lib/prometheus/node-exporter",
        vscadmin_cleanup_service_lines=["NoNewPrivileges=no"],
    )
    assert text.count("ReadWritePaths=/var/lib/") == 2
    assert text.splitlines()[-1] == "NoNewPrivileges=no"
    service = (ROOT / "cron" / "vscadmin-cleanup.service").read_text()
    unit = tmp_path / "vscadmin-cleanup.service"
    unit.write_text(service.replace("/usr/local/bin/vscadmin cleanup", "/bin/true"))
    (tmp_path / f"{unit.name}.d").mkdir()
    (tmp_path / f"{unit.name}.d" / "site.conf").write_text(f"{text}Wrong=yes\n")
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    ours = [line for line in said.splitlines() if str(tmp_path) in line]
    assert len(ours) == 1, said
    assert "Wrong" in ours[0], "only what is wrong is complained of"


def test_the_collection_can_be_installed_and_its_playbooks_find_its_roles(tmp_path: Path) -> None:
    """Away from the checkout: what it links to is in it."""
    here = Path(sys.executable).parent
    surroundings = {**os.environ, "ANSIBLE_HOME": str(tmp_path)}
    (tmp_path / "ansible.cfg").touch()  # in force before the one of whoever runs the tests
    run = partial(subprocess.run, check=True, capture_output=True, cwd=tmp_path, env=surroundings)
    run([here / "ansible-galaxy", "collection", "build", ANSIBLE])
    (archive,) = tmp_path.glob("hpc-vscadmin-*.tar.gz")
    run([here / "ansible-galaxy", "collection", "install", "--offline", archive])
    (cron,) = tmp_path.rglob("files/vscadmin-cleanup")
    assert not cron.is_symlink()
    for playbook in PLAYBOOKS:
        run([here / "ansible-playbook", "--syntax-check", f"hpc.vscadmin.{playbook.stem}"])


def test_the_collection_has_the_version_of_the_program() -> None:
    assert load(ANSIBLE / "galaxy.yml")["version"] == __version__


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_a_playbook_leaves_nodes_in_service(playbook: Path) -> None:
    """One node at a time, and none after the first that fails."""
    for play in load(playbook):
        assert play["serial"] == "{{ vscadmin_serial | default(1) }}"
        assert play["max_fail_percentage"] == 0


@pytest.mark.parametrize("name", ["upgrade", "rollback"])
def test_an_upgrade_touches_neither_policy_nor_schedule(name: str) -> None:
    (play,) = load(ANSIBLE / "playbooks" / f"{name}.yml")
    assert [each["role"] for each in play["roles"]] == ["vscadmin"]
    tasks = "".join(path.read_text() for path in (ANSIBLE / "roles" / "vscadmin").rglob("*.yml"))
    assert not re.search(r"policy\.toml|cron\.d|systemd", tasks)
