"""Every template filled in with invented data: a wrong one is found before anything is done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date

from vscadmin.cleanup.digest import Digest, digest_values, refusal_values
from vscadmin.cleanup.letters import plain, subject_line
from vscadmin.cleanup.notify import Author, Server, notice_values
from vscadmin.cleanup.recipients import MOST_TREES
from vscadmin.cleanup.records import Delivery, Identity, Notice, Result, Run, Termination
from vscadmin.cleanup.wording import TEMPLATES, Wording, open_templates
from vscadmin.errors import ConfigError
from vscadmin.policy.settings import Action, Exemption, Policy

_THEN = 1_800_000_000.0
_IDENTITY = Identity("00000000-0000-4000-8000-000000000000", 4100, 1)
_RUN = Run("20270115-080000-4711", "login01", _THEN, "enforce", "0" * 64, plan_hash="0" * 64)
_SERVER = Server(
    host="login01.example.edu",
    pid=4100,
    title="VS Code, Remote-SSH",
    product="vscode",
    started="Fri 2027-01-15 08:00 UTC",
    age="3d",
    client="none since Sun 2027-01-17 08:00 UTC (25h)",
    memory="1.4G",
    rule="abandoned",
    reasons=("state is abandoned", "abandoned for 25h, limit 24h"),
    end="Wed 2027-01-20 18:00 UTC",
)


def load_templates(policy: Policy) -> Wording:
    """Return the templates of a policy, all of them read, compiled and tried.

    Raises ConfigError with every problem, each with its file and line.
    """
    wording = open_templates(policy.notify.templates)
    author = Author(policy, "login01.example.edu", _IDENTITY.boot_id, wording)
    problems: list[str] = []
    for name in TEMPLATES:
        try:
            _try(name, author)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(tuple(dict.fromkeys(problems)))
    return wording


def _try(name: str, author: Author) -> None:
    """Fill a template in with each of its samples; raises ConfigError."""
    samples = list(sample_values(name, author))
    author.wording.check_names(name, samples[0].keys())
    for values in samples:
        text = author.wording.render(name, values)
        if "-subject." in name:
            subject_line(text.strip())
        elif not plain(text).strip():
            raise ConfigError((f"{name}: gives an empty text",))


def sample_values(name: str, author: Author) -> Iterator[dict[str, object]]:
    """Yield what a template may be filled in with: one of something, many, and none."""
    if name.startswith("digest"):
        yield digest_values(_digest(), author)
        yield digest_values(Digest(_RUN), author)
    elif name.startswith("refused"):
        values = refusal_values(_RUN, ("21 terminations planned, 20 allowed",), (), author)
        yield values | {"servers": 21, "users": 4, "lines": ["ada pid 4100: VS Code"], "more": 20}
        yield values
    else:
        told = replace(_SERVER, end="", client="since Fri 2027-01-15 08:00 UTC")
        yield notice_values("ada", [_SERVER], 0, author)
        yield notice_values("ada", [told], 0, author)
        elsewhere = [replace(_SERVER, host=f"login0{number}") for number in range(1, 5)]
        yield notice_values("ada", [_SERVER] * (MOST_TREES - 4) + elsewhere, 80, author)


def _digest() -> Digest:
    told = Notice(
        identity=_IDENTITY,
        user="ada",
        product="vscode",
        rule="abandoned",
        action=Action.TERMINATE,
        address="ada@example.edu",
        created_at=_THEN,
        delivery=Delivery.DELIVERED,
        not_before=_THEN + 86400,
    )
    ended = Termination(_IDENTITY, "ada", "vscode", "abandoned", _THEN, Result.ENDED, 1 << 30)
    return Digest(
        run=_RUN,
        notices=(told, replace(told, delivery=Delivery.FAILED, error="550 no such user")),
        terminations=tuple(replace(ended, result=result) for result in Result),
        problems=("the run before this one was cut short",),
        left_alone=("ada pid 4100: holds processes of other users, never signalled: pid 4200",),
        exemptions=(Exemption("ada", date(2027, 1, 31), "TICKET-4711"),),
    )
