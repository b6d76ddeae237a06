"""The arrows between packages go one way, and what is called pure imports nothing that acts."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "vscadmin"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Who may import whom, by the first name below vscadmin.
_LEAVES = {"model", "units", "errors", "escape", "deadline", "version"}
ARROWS = {
    "model": set(),
    "units": set(),
    "errors": set(),
    "escape": set(),
    "deadline": set(),
    "version": set(),
    "logs": {"errors", "escape", "trust"},
    "trust": {"errors"},
    "config": {"policy", "units", "errors"},
    "procs": _LEAVES | {"procs"},
    "policy": _LEAVES | {"policy"},
    "cleanup": _LEAVES | {"cleanup", "policy", "procs", "trust", "logs"},
    "proxy": _LEAVES | {"proxy", "sites", "trust"},
    "slurm": _LEAVES | {"slurm"},
    "page": _LEAVES | {"page"},
    "fleet": _LEAVES | {"fleet"},
    "sites": _LEAVES | {"trust"},
    "cli": _LEAVES
    | {"cli", "cleanup", "config", "fleet", "logs", "page", "policy"}
    | {"procs", "proxy", "sites", "slurm", "trust"},
    "__main__": {"cli"},
}
PURE = {
    "model.py", "units.py", "errors.py", "escape.py", "config.py",
    "procs/stat.py", "procs/nets.py", "procs/catalogue.py", "procs/clients.py",
    "procs/kinship.py", "procs/trees.py", "procs/remains.py",
    "policy/settings.py", "policy/quiet.py", "policy/states.py", "policy/protect.py",
    "policy/rules.py", "policy/ladder.py", "policy/decide.py", "policy/text.py",
    "cleanup/records.py", "cleanup/approve.py", "cleanup/recipients.py", "cleanup/replay.py",
    "cleanup/peers.py", "cleanup/turns.py", "cleanup/snapshot_json.py",
    "fleet/answers.py", "fleet/merge.py", "fleet/drift.py",
    "cleanup/facts.py", "cleanup/events.py", "cleanup/splay.py",
    "cleanup/letters.py", "cleanup/notify.py", "cleanup/digest.py", "cleanup/review.py",
    "page/facts.py", "page/totals.py", "page/charts.py", "page/render.py",
    "proxy/rewrite.py", "proxy/bind.py", "proxy/redact.py", "proxy/binding.py",
    "slurm/chatter.py", "slurm/fields.py", "slurm/job.py", "slurm/listing.py",
    "slurm/progress.py", "slurm/reasons.py", "slurm/row.py", "slurm/running.py",
    "slurm/waiting.py", "slurm/watching.py", "slurm/wording.py", "cli/session_list.py",
}  # fmt: skip
FORBIDDEN = {"os", "socket", "subprocess", "signal", "time", "structlog", "click", "psutil"}
FORBIDDEN |= {"threading", "ctypes", "pathlib", "shutil", "random"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(path: Path) -> str:
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_arrows_go_one_way(path: Path) -> None:
    wanted = {name.split(".")[1] for name in imports(path) if name.startswith("vscadmin.")}
    if path.name == "__init__.py":
        assert not wanted
    else:
        assert wanted <= ARROWS[part(path)]


@pytest.mark.parametrize("name", sorted(PURE))
def test_a_pure_module_imports_nothing_that_acts(name: str) -> None:
    assert not {each.partition(".")[0] for each in imports(PACKAGE / name)} & FORBIDDEN


def test_every_module_of_judging_is_pure() -> None:
    judging = {f"policy/{path.name}" for path in (PACKAGE / "policy").glob("*.py")}
    assert judging - {"policy/__init__.py"} <= PURE


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("__init__.py")), ids=str)
def test_a_package_is_one_docstring(path: Path) -> None:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    assert len(body) == 1
    assert isinstance(body[0], ast.Expr)


def test_only_logs_configures_structlog() -> None:
    users = {path.name for path in MODULES if "structlog" in set(imports(path))}
    assert users == {"logs.py"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_and_functions_stay_small(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 400
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 50, node.name
