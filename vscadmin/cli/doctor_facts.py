"""What `fleet doctor` compares between nodes: versions, hashes of files, the last run."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from typing import Any

from vscadmin.cleanup.records import Run
from vscadmin.cli.as_json import moment
from vscadmin.cli.doctor_proxy import PROXY_FILE
from vscadmin.cli.past import stored
from vscadmin.cli.survey import DEFAULT_POLICY, load_policy
from vscadmin.deadline import within
from vscadmin.errors import ConfigError, VscadminError
from vscadmin.policy.settings import Policy
from vscadmin.proxy import site
from vscadmin.proxy.arguments import PROGRAM
from vscadmin.proxy.settings import ProxySettings, parse
from vscadmin.version import __version__

_PATIENCE = 3.0  # seconds for the store
_MOST_BYTES = 4 << 20  # of a file that is hashed


def facts(policy_path: str | None, catalogue_dir: str | None) -> dict[str, Any]:
    """Return them for JSON; null or nothing where there is no such file, or it is wrong.

    A policy or proxy.toml that is wrong has its hash all the same: that is what drifted.
    """
    policy = _policy(policy_path)
    last = None if policy is None else _last_run(policy)
    directory = catalogue_dir or (policy or Policy()).scope.catalogue_dir
    return {
        "version": __version__,
        "mode": None if policy is None else str(policy.mode),
        "policy_sha256": _digest(policy_path or DEFAULT_POLICY),
        "catalogue_sha256": _digest_of_all(directory),
        "proxy_sha256": _digest(PROXY_FILE),
        "plugins": _plugins(),
        "last_run": None if last is None else moment(last.finished_at or last.started_at),
        "last_outcome": None if last is None else str(last.outcome),
    }


def _policy(path: str | None) -> Policy | None:
    try:
        return load_policy(path).policy
    except ConfigError:
        return None


def _last_run(policy: Policy) -> Run | None:
    def look() -> Run | None:
        with stored(policy.store.path) as store:
            return None if store is None else store.last_completed_run()

    try:
        return within(_PATIENCE, look)
    except (VscadminError, TimeoutError):
        return None


def _digest(path: str) -> str | None:
    """Return the SHA-256 of a file in hex, None where there is none to be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read(_MOST_BYTES)).hexdigest()
    except OSError:
        return None


def _digest_of_all(directory: str) -> str | None:
    """Return one SHA-256 over the names and contents of the families that a site added."""
    try:
        names = sorted(each for each in os.listdir(directory) if each.endswith(".toml"))
    except OSError:
        return None
    lines = [f"{name} {_digest(os.path.join(directory, name))}" for name in names]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else None


def _plugins() -> list[dict[str, str | None]]:
    """Return the hashes of the plugins that sessions load; none is loaded here."""
    try:
        text = site.read(PROXY_FILE)
        settings = ProxySettings() if text is None else parse(text, PROXY_FILE)
    except ConfigError:
        return []
    if text is None:
        local = _first_digest(site.local_files(shutil.which(PROGRAM) or ""))
        return [{"name": site.LOCAL, "sha256": local}] if local else []
    where = site.directories(settings)
    return [
        {"name": name, "sha256": _first_digest(os.path.join(each, f"{name}.py") for each in where)}
        for name in settings.plugins
    ]


def _first_digest(paths: Iterable[str]) -> str | None:
    return next((digest for each in paths if (digest := _digest(each))), None)
