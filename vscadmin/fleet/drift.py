"""How far nodes have drifted apart: version, configuration, clock, last run. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vscadmin.fleet.answers import Heard, Outcome, SchemaError, UnusableError, document, must

WRONG_CLOCK = 2.0  # seconds beyond what the measurement leaves open
_TEXT, _MAYBE = (str,), (str, type(None))
_FACTS = {
    "version": _TEXT,
    "mode": _MAYBE,
    "policy_sha256": _MAYBE,
    "catalogue_sha256": _MAYBE,
    "proxy_sha256": _MAYBE,
    "plugins": (list,),
    "last_run": _MAYBE,
    "last_outcome": _MAYBE,
}
COMPARED = ("version", "mode", "policy", "catalogue", "proxy", "plugins")
"""What should be the same on all nodes."""


@dataclass(frozen=True, slots=True)
class Clock:
    """How far a node's clock is ahead of ours, in seconds, give or take *uncertainty*.

    It was read at some moment between our question and its answer: half of that time is
    the uncertainty.
    """

    offset: float
    uncertainty: float

    @property
    def is_wrong(self) -> bool:
        """Whether it is off by more than the measurement leaves open."""
        return abs(self.offset) - self.uncertainty > WRONG_CLOCK


@dataclass(frozen=True, slots=True)
class State:
    """What a node says of itself, and its clock where it could be measured.

    *compared* has what should be the same everywhere, "-" for what is not there, *facts*
    all that it is made of, as `vscadmin doctor --json` says it. *grade*
    is the worst of the checks of doctor, *checks* those that are not ok, in words.
    """

    heard: Heard
    compared: dict[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)
    last_run: str | None = None
    last_outcome: str | None = None
    clock: Clock | None = None
    grade: str = ""
    checks: tuple[str, ...] = ()


def clock_of(line: bytes, begun: float, heard: float) -> Clock | None:
    """Return what `date +%s.%N`, read between two moments of ours, says of a clock."""
    try:
        said = float(line)
    except ValueError:
        return None
    if not 0 < said < 1e11 or heard < begun:
        return None
    return Clock(said - (begun + heard) / 2, (heard - begun) / 2)


def state_of(node: str, data: bytes, code: int | None, clock: Clock | None) -> State:
    """Return what *node* said to `vscadmin doctor --json`."""
    try:
        found = document(data, "doctor")
        checks = _checks(found)
        facts = found.get("facts")
        must(facts, _FACTS, "facts")
        assert isinstance(facts, dict)  # noqa: S101 - `must` has seen to it
        compared = _compared(facts)
    except SchemaError as error:
        return State(Heard(node, Outcome.OTHER_SCHEMA, str(error), code), {})
    except UnusableError as error:
        return State(Heard(node, Outcome.UNUSABLE, str(error), code), {})
    bad = [each for each in checks if each[0] != "ok"]
    grades = {each[0] for each in bad}
    return State(
        heard=Heard(node, Outcome.ANSWERED, "", code, found),
        compared=compared,
        facts={key: facts[key] for key in _FACTS},
        last_run=facts["last_run"],
        last_outcome=facts["last_outcome"],
        clock=clock,
        grade=next((grade for grade in ("fail", "warn") if grade in grades), "ok"),
        checks=tuple(f"{name}: {words}" for _, name, words in bad),
    )


def _checks(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    must(found, {"checks": (list,)}, "doctor")
    keys = {"check": _TEXT, "grade": _TEXT, "words": _TEXT}
    for index, each in enumerate(found["checks"]):
        must(each, keys, f"checks[{index}]")
    return [(each["grade"], each["check"], each["words"]) for each in found["checks"]]


def _compared(facts: dict[str, Any]) -> dict[str, str]:
    for each in facts["plugins"]:
        must(each, {"name": _TEXT, "sha256": _MAYBE}, "facts.plugins")
    plugins = sorted((each["name"], each["sha256"] or "missing") for each in facts["plugins"])
    listed = ", ".join(f"{name} {digest[:12]}" for name, digest in plugins)
    return {
        "version": facts["version"],
        "mode": facts["mode"] or "-",
        "policy": (facts["policy_sha256"] or "-")[:12],
        "catalogue": (facts["catalogue_sha256"] or "-")[:12],
        "proxy": (facts["proxy_sha256"] or "-")[:12],
        "plugins": listed or "-",
    }


def odd(states: Iterable[State]) -> dict[str, frozenset[str]]:
    """Return, by what is compared, the nodes that are not as most of them are.

    Where no more than half agree nobody can say who is right, and all are named.
    """
    told = [each for each in states if each.compared]
    found = {}
    for key in COMPARED:
        values = Counter(each.compared[key] for each in told)
        usual = [value for value, count in values.items() if 2 * count > len(told)]
        found[key] = frozenset(each.heard.node for each in told if each.compared[key] not in usual)
    return found
