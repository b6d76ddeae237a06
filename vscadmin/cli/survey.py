"""Scan and find: what scan, report and explain all stand on."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import click

from vscadmin.cleanup.look import NO_MESSAGES, Messages, look, messages, remembered
from vscadmin.errors import ConfigError, Exit, StoreError, UsageError
from vscadmin.model import Owner, ProcessKey, Snapshot, Tree
from vscadmin.policy.settings import Policy, Scope
from vscadmin.policy.states import History
from vscadmin.procs.catalogue import Catalogue
from vscadmin.procs.families import load_catalogue
from vscadmin.procs.owners import uid_of
from vscadmin.procs.scan import boot_id
from vscadmin.procs.sight import Sight
from vscadmin.procs.trees import Forest
from vscadmin.trust import doubts

DEFAULT_POLICY = "/etc/vscadmin/policy.toml"
BUILT_IN = "built-in"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A policy, where it is from, its SHA-256 in hex, and why it would not be acted on."""

    policy: Policy
    source: str
    digest: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """What earlier runs of cleanup stored, as far as we may read it; *problem* says why not."""

    recorded: Mapping[ProcessKey, ProcessKey] = field(default_factory=dict)
    histories: Mapping[ProcessKey, History] = field(default_factory=dict)
    messages: Messages = NO_MESSAGES
    problem: str = ""


NO_MEMORY = Memory()


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything one look at this machine gave, and what is remembered, before it is judged."""

    loaded: Loaded
    catalogue: Catalogue
    sight: Sight
    memory: Memory = NO_MEMORY

    @property
    def snapshot(self) -> Snapshot:
        """The process table."""
        return self.sight.snapshot

    @property
    def forest(self) -> Forest:
        """The trees in it."""
        return self.sight.forest

    @property
    def owners(self) -> Mapping[int, Owner]:
        """Whose they are, by uid."""
        return self.sight.owners

    @property
    def is_partial(self) -> bool:
        """Whether anything could not be read."""
        return self.sight.is_partial

    @property
    def exit_code(self) -> Exit:
        """Incomplete when root could not read something; others see what they may."""
        return Exit.INCOMPLETE if self.is_partial and os.geteuid() == 0 else Exit.DONE


def load_policy(path: str | None) -> Loaded:
    """Read the policy at *path*, else the site's, else the built-in one.

    Raises ConfigError when it is wrong or cannot be read.
    """
    if path is None and not os.path.lexists(DEFAULT_POLICY):
        return Loaded(Policy(), BUILT_IN)
    # cattrs costs 50 ms: only a policy file needs it
    from hashlib import sha256  # noqa: PLC0415

    from vscadmin.config import parse_policy  # noqa: PLC0415

    source = path or DEFAULT_POLICY
    try:
        with open(source, "rb") as file:
            text = file.read()
    except OSError as error:
        raise ConfigError((f"{source}: {error.strerror}",)) from error
    policy = parse_policy(text, source)
    return Loaded(policy, source, sha256(text).hexdigest(), doubts(source))


def load_families(loaded: Loaded, catalogue_dir: str | None) -> Catalogue:
    """Read the catalogue with the site's additions, and hold the policy's products against it.

    Raises ConfigError for a bad file, as root also for one that others can change.
    """
    directory = catalogue_dir or loaded.policy.scope.catalogue_dir
    if directory != Scope().catalogue_dir and not os.path.isdir(directory):
        key = "" if catalogue_dir else f"{loaded.source}: scope.catalogue_dir: "
        raise ConfigError((f"{key}{directory}: is not a directory",))
    catalogue = load_catalogue(directory, trusted=_distrust if os.geteuid() == 0 else None)
    if loaded.source != BUILT_IN:
        from vscadmin.config import check_products  # noqa: PLC0415 - as above

        report_only = {each.name for each in catalogue.families if each.report_only}
        known = {each.name for each in catalogue.families}
        check_products(loaded.policy, loaded.source, known, report_only)
    return catalogue


def _distrust(path: str) -> str:
    return "; ".join(doubts(path))


def survey(policy_path: str | None, catalogue_dir: str | None) -> Survey:
    """Look at this machine once, and find every tree on it; remember what was stored of them."""
    gc.disable()  # a short life: passing over ten thousand live facts again and again costs 5 %
    loaded = load_policy(policy_path)
    catalogue = load_families(loaded, catalogue_dir)
    memory = _remember(loaded.policy)
    return Survey(loaded, catalogue, look(loaded.policy, catalogue, memory.recorded), memory)


def _remember(policy: Policy) -> Memory:
    """Read what the store knows of this boot's trees; nothing where there is none for us."""
    if not os.access(policy.store.path, os.R_OK):
        return NO_MEMORY
    from vscadmin.cleanup.store_read import Reader  # noqa: PLC0415 - sqlite3, where there is a store

    try:
        if (store := Reader.open(policy.store.path)) is None:
            return NO_MEMORY
        with store:
            boot = boot_id()
            now = time.time()
            histories = remembered(store, policy, boot, now)
            return Memory(store.recorded(boot), histories, messages(store, policy, now))
    except StoreError as error:
        return Memory(problem=str(error))


class _Owned(Protocol):
    """What is about one tree of one owner."""

    @property
    def tree(self) -> Tree: ...

    @property
    def owner(self) -> Owner: ...


Each = TypeVar("Each", bound=_Owned)


def select(
    survey: Survey, all_of_them: Iterable[Each], user: str | None, product: str | None
) -> tuple[Each, ...]:
    """Return those that are about one user's or one product's trees.

    Raises UsageError for a user or product that does not exist.
    """
    chosen = tuple(all_of_them)
    if user is not None:
        uid = known_uid(user, survey.owners.values())
        chosen = tuple(each for each in chosen if each.tree.root.uid == uid)
    if product is not None:
        if survey.catalogue.family(product) is None:
            known = ", ".join(each.name for each in survey.catalogue.families)
            raise UsageError(f'--product: "{product}" is no product of the catalogue ({known})')
        chosen = tuple(each for each in chosen if each.tree.product == product)
    return chosen


def known_uid(user: str, seen: Iterable[Owner]) -> int:
    """Return the uid that a user name or "#uid" names; raises UsageError for an unknown one."""
    for owner in seen:
        if user == str(owner):
            return owner.uid
    uid = uid_of(user)
    if uid is None:
        raise UsageError(f'"{user}" is no user of this machine')
    return uid


def warn(survey: Survey) -> None:
    """Say on stderr what makes this look less than whole."""
    warn_of(survey.loaded)
    if survey.memory.problem:
        click.echo(f"vscadmin: warning: {survey.memory.problem}", err=True)
    if (count := len(survey.snapshot.unreadable)) and os.geteuid() == 0:
        click.echo(f"vscadmin: warning: {count} processes could not be read", err=True)


def warn_of(loaded: Loaded) -> None:
    """Say on stderr why a policy would not be acted on."""
    for warning in loaded.warnings:
        click.echo(f"vscadmin: warning: {warning}: cleanup would refuse this policy", err=True)
