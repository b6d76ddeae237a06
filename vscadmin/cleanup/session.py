"""What all parts of one run share: the request, the store, the log and what happened so far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from vscadmin.cleanup.notify import Author
from vscadmin.cleanup.peers import Told
from vscadmin.cleanup.records import Notice, Run, Termination
from vscadmin.cleanup.store import Store
from vscadmin.cleanup.turns import ALONE, Fleet
from vscadmin.errors import Exit
from vscadmin.logs import Log
from vscadmin.policy.settings import Policy
from vscadmin.procs.catalogue import Catalogue

_SAID = "said:"  # before the kinds of problems, among those of mails


@dataclass(frozen=True, slots=True)
class Request:
    """What a run is asked to do. *approved* is the hash of a refused plan that is allowed once."""

    policy: Policy
    policy_digest: str
    catalogue: Catalogue
    host: str
    approved: str | None = None


@dataclass(slots=True)
class Session:
    """One run at work. *deadline* is by time.monotonic().

    *problems* go to whoever started the run, a line each; *news* are those of them that
    the admins have to hear of by mail. *fleet* is what the other nodes have said, *told*
    what this node has delivered for them.
    """

    request: Request
    policy: Policy
    store: Store
    log: Log
    run: Run
    deadline: float
    notices: list[Notice] = field(default_factory=list)
    terminations: list[Termination] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    fleet: Fleet = ALONE
    problems: list[str] = field(default_factory=list)
    news: list[str] = field(default_factory=list)
    exit_code: Exit = Exit.DONE
    turned_away: int = 0

    def say(self, problem: str, kind: str = "") -> None:
        """Note what the admins have to hear of as well, by the same rule."""
        if self.warn(problem, kind):
            self.news.append(problem)

    def warn(self, problem: str, kind: str = "") -> bool:
        """Log what whoever started the run has to hear of, and tell it; False if only logged.

        A *kind* of problem that lasts is told once in notify.every: cron mails every line.
        """
        if is_fresh := self._is_fresh(kind):
            self.problems.append(problem)
        self.log.write({"event": "problem", "level": "warning", "words": problem})
        return is_fresh

    def _is_fresh(self, kind: str) -> bool:
        """Whether a kind of problem was not told of lately; from now on it was."""
        if not kind:
            return True
        now, last = time.time(), self.store.last_admin_mail(_SAID + kind)
        if last is not None and 0 <= now - last < self.policy.notify.every:
            return False
        self.store.note_admin_mail(_SAID + kind, now)
        return True

    def author(self, boot_id: str) -> Author:
        """Return who writes this run's letters; raises ConfigError for a wrong template."""
        # Compiling them takes 0.2 s: only a run that writes loads them.
        from vscadmin.cleanup.samples import load_templates  # noqa: PLC0415

        return Author(self.policy, self.request.host, boot_id, load_templates(self.policy))

    @property
    def seconds_left(self) -> float:
        """How long the run may still take."""
        return self.deadline - time.monotonic()
