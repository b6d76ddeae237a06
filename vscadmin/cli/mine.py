"""`vscadmin mine`: your own servers on this node, and how to end one. Needs no privileges."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from vscadmin.cli import as_json as js
from vscadmin.cli import options
from vscadmin.cli.survey import BUILT_IN, Loaded, Survey, load_families, load_policy
from vscadmin.errors import ConfigError, Exit, NotPermittedError, UsageError
from vscadmin.escape import printable
from vscadmin.model import Owner, Snapshot, Tree
from vscadmin.policy.protect import protection
from vscadmin.policy.settings import Policy, Protect
from vscadmin.policy.states import NOTHING_KNOWN, Judged, judge
from vscadmin.procs.catalogue import Catalogue
from vscadmin.procs.families import load_catalogue
from vscadmin.procs.sight import see
from vscadmin.units import counted, format_size

if TYPE_CHECKING:
    from vscadmin.cleanup.execute import Ended, Fresh


@click.command("mine")
@click.option("--stop", type=int, metavar="PID", help="End this server, named by any pid in it.")
@click.option("--even-in-use", is_flag=True, help="With a client or jobs in it, too.")
@options.as_json
@options.wide
def command(stop: int | None, even_in_use: bool, as_json: bool, wide: bool) -> int:
    """Show your own servers on this node, or end one of them.

    Which product, since when, whether anybody is connected, and what it costs. --stop ends
    one; not while it is in use, unless you say so.
    """
    if even_in_use and stop is None:
        raise UsageError("--even-in-use: goes with --stop PID")
    found = _look()
    if stop is not None:
        return _stop(found, _named(found, stop), even_in_use=even_in_use, as_json=as_json)
    if as_json:
        _emit(found, None)
    else:
        from vscadmin.cli.render_past import show_mine  # noqa: PLC0415 - rich is for people only

        now = found.snapshot.taken_at
        show_mine(_judged(found), now, _editors_own(found), wide=wide)
    return Exit.DONE


def _look() -> Survey:
    """Look at this machine; no mistake of the site's files keeps anybody from their own servers."""
    loaded, catalogue = Loaded(Policy(), BUILT_IN), load_catalogue()
    try:
        loaded = load_policy(None)
        catalogue = load_families(loaded, None)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(f"vscadmin: warning: {printable(problem)}: not used", err=True)
    return Survey(loaded, catalogue, see(catalogue, with_groups=False))


def _own(found: Survey) -> list[Tree]:
    return [tree for tree in found.forest.trees if tree.root.uid == os.geteuid()]


def _judged(found: Survey) -> list[Judged]:
    policy, now = found.loaded.policy, found.snapshot.taken_at
    return [
        Judged(tree, owner, judge(tree, owner, NOTHING_KNOWN, policy, now))
        for tree in _own(found)
        for owner in (found.owners[tree.root.uid],)
    ]


def _editors_own(found: Survey) -> int | None:
    """Return the server in whose terminal we run: it is an ancestor of ours, so never listed."""
    processes = found.snapshot.processes
    above = [processes[pid] for pid in found.snapshot.ourselves if pid in processes]
    servers = (each.pid for each in above if found.catalogue.match(each.argv) is not None)
    return min(servers, default=None)


def _named(found: Survey, pid: int) -> Tree:
    """Return the caller's tree that *pid* is in; raises UsageError or NotPermittedError."""
    if os.geteuid() == 0:
        raise NotPermittedError("--stop: is for ordinary users; what root ends, cleanup ends")
    for tree in found.forest.trees:
        if pid in {member.pid for member in tree.members}:
            if tree.root.uid != os.geteuid():
                owner = printable(str(found.owners[tree.root.uid]))
                raise NotPermittedError(f"pid {pid} is in a server of {owner}, not in yours")
            return tree
    if pid not in found.snapshot.processes:
        raise UsageError(f"pid {pid}: there is no such process (any more)")
    from vscadmin.cli.explain import stranger  # noqa: PLC0415 - psutil

    raise UsageError(printable(stranger(found, pid), 400))


def _stop(found: Survey, tree: Tree, *, even_in_use: bool, as_json: bool) -> int:
    """End *tree*, and say what became of it."""
    from vscadmin.cleanup.execute import Eyes, Order, terminate  # noqa: PLC0415 - here alone
    from vscadmin.cleanup.records import Result  # noqa: PLC0415

    look = _Looker(found.catalogue, tree, _jobs_only(found), even_in_use=even_in_use)
    for words in jobs(tree, look.protect) if even_in_use else ():
        click.echo(f"vscadmin: ends with it: {words}", err=True)
    order = Order(
        key=tree.key,
        uid_min=1,  # scope.uid_min is about what others do
        term_wait=found.loaded.policy.terminate.term_wait,
        even_in_use=even_in_use,
    )
    ended = terminate(order, Eyes(found.catalogue, look.look, look.protects))
    if as_json:
        _emit(found, _told(tree, ended))
    else:
        for line in _stop_lines(tree, ended, even_in_use=even_in_use):
            click.echo(line)
    is_over = ended.result in (Result.ENDED, Result.GONE)
    return Exit.DONE if is_over else Exit.INCOMPLETE


def _jobs_only(found: Survey) -> Protect:
    """Return the protections that tell of work inside: nobody is protected from himself."""
    return replace(found.loaded.policy.protect, users=(), groups=(), login_session=False)


def jobs(tree: Tree, protect: Protect) -> tuple[str, ...]:
    """Return what would be lost with *tree*: tmux, transfers, whatever runs in its terminals."""
    hits = protection(tree, Owner(tree.root.uid, None), protect, {})
    return tuple(printable(each.partition(": ")[2]) for each in hits)


class _Looker:
    """Looks at one tree of the caller's afresh."""

    def __init__(
        self, catalogue: Catalogue, tree: Tree, protect: Protect, *, even_in_use: bool
    ) -> None:
        self.protect = protect
        self._catalogue = catalogue
        self._tree = tree
        self._even_in_use = even_in_use
        self._recorded = {member.key: tree.key for member in tree.members}

    def look(self) -> Fresh:
        """Find the tree again, with what speaks against its end."""
        from vscadmin.cleanup.execute import Fresh  # noqa: PLC0415 - as above

        seen = see(self._catalogue, with_groups=False, recorded=self._recorded)
        same = [each for each in seen.forest.trees if each.key == self._tree.key]
        if not same:
            return Fresh(None)
        return Fresh(same[0], self.protects(same[0], seen.snapshot), seen.snapshot.details)

    def protects(self, tree: Tree, _: Snapshot) -> tuple[str, ...]:
        """Return the jobs in it, unless they may end too."""
        return () if self._even_in_use else jobs(tree, self.protect)


def _stop_lines(tree: Tree, ended: Ended, *, even_in_use: bool) -> list[str]:
    count = counted(len(tree.members), "process")
    what = f"pid {tree.root.pid} ({printable(tree.title)}, {count})"
    words = [f"- {printable(each)}" for each in ended.words]
    if ended.result == "ended":
        return [f"{what}: ended, {format_size(tree.rss)} given back.", *words]
    if ended.result == "gone":
        return [f"{what}: was gone already.", *words]
    if ended.result == "survivors":
        left = counted(len(ended.survivors), "process")
        return [f"{what}: not all of it ended, {left} left:", *words]
    hint = [] if even_in_use else ["To end it all the same: --even-in-use"]
    return [f"{what}: not ended:", *words, *hint]


def _told(tree: Tree, ended: Ended) -> dict[str, Any]:
    return {
        "pid": tree.root.pid,
        "result": str(ended.result),
        "survivors": [each.pid for each in ended.survivors],
        "words": [printable(each) for each in ended.words],
    }


def _emit(found: Survey, stopped: dict[str, Any] | None) -> None:
    """Print the servers as they were found, before one of them was ended."""
    ticks = found.snapshot.ticks_per_second
    trees = [js.tree_facts(each, ticks) for each in _judged(found)]
    js.emit("mine", {**js.seen(found), "trees": trees, "stopped": stopped})
