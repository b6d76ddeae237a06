"""policy.toml to a frozen Policy: all errors at once, each with its key and a suggestion."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Iterator
from dataclasses import fields, is_dataclass
from datetime import date
from enum import StrEnum
from typing import Any, TypeVar, get_args, get_origin

from cattrs import BaseValidationError, Converter, ForbiddenExtraKeysError
from cattrs.errors import AttributeValidationNote, IterableValidationNote
from cattrs.gen import make_dict_structure_fn, override

from vscadmin.errors import ConfigError, shown, suggestion
from vscadmin.policy.quiet import QuietHours, first_allowed, parse_quiet_hours
from vscadmin.policy.rules import conditions
from vscadmin.policy.settings import (
    SPELLED,
    Action,
    Bytes,
    Count,
    Glob,
    Keep,
    Mode,
    Notify,
    Percent,
    Policy,
    Rule,
    Seconds,
    State,
)
from vscadmin.units import DAY, parse_duration, parse_percent, parse_size

VERSION = 1  # of the policy's schema

T = TypeVar("T")
Hook = Callable[[Any, Any], Any]
Path = tuple[str, ...]


def parse_policy(text: bytes, source: str) -> Policy:
    """Read a policy; *source* names it in errors.

    Raises ConfigError with every problem that can be found, a line each, in the form
    `file: key: what is wrong`.
    """
    try:
        data = tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError((f"{source}: is no TOML: {error}",)) from error
    problems = []
    version = data.pop("version", None)
    if version != VERSION or type(version) is not int:
        problems.append(f"version: must be {VERSION}")
    data.setdefault("rule", [])  # a policy file without rules has none, not the built-in ones
    try:
        policy = _CONVERTER.structure(data, Policy)
    except BaseValidationError as error:
        problems += _problems(error, ())
        problems += _contradictions_of_the_rest(data)
    else:
        problems += _contradictions(policy)
    if problems:
        raise ConfigError(tuple(f"{source}: {problem}" for problem in problems))
    return policy


def check_products(
    policy: Policy, source: str, known: Collection[str], report_only: Collection[str]
) -> None:
    """Raise ConfigError where the policy names a product that no rule can be about."""
    named = [("scope.products", product) for product in policy.scope.products]
    for index, rule in enumerate(policy.rules, 1):
        if rule.when.product is not None:
            named.append((f"rule[{index}].when.product", rule.when.product))
    problems = []
    for key, product in named:
        if product in report_only:
            problems.append(f'{source}: {key}: "{product}" is only reported, no rule can act on it')
        elif product not in known:
            hint = suggestion(product, known)
            problems.append(f'{source}: {key}: "{product}" is no product of the catalogue{hint}')
    if problems:
        raise ConfigError(tuple(problems))


# What is structured how. Nothing is converted silently: cattrs alone would read the
# string "5" as a number and the string "abc" as a list of three.


def _strict(kind: type[T], wanted: str) -> Callable[[Any, Any], T]:
    def structure(value: Any, _type: Any) -> T:
        if type(value) is not kind:
            raise ValueError(f"must be {wanted}, not {shown(value)}")
        return value

    return structure


_string = _strict(str, "a string")


def _parsed(parse: Callable[[str], Any], example: str) -> Hook:
    text = _strict(str, f'a string like "{example}"')
    return lambda value, kind: parse(text(value, kind))


def _count(value: Any, _type: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"must be a whole number from 1 on, not {shown(value)}")
    return value


def _glob(value: Any, kind: Any) -> str:
    text = _string(value, kind)
    if not text or "/" in text:
        raise ValueError(f'must be a pattern for a program\'s name ("tmux*"), not {shown(text)}')
    return text


def _date(value: Any, _type: Any) -> date:
    if type(value) is not date:
        raise ValueError(f"must be a date without quotes (2027-01-31), not {shown(value)}")
    return value


def _choice(value: Any, kind: type[StrEnum]) -> StrEnum:
    choices = [str(each) for each in kind]
    if value not in choices:
        hint = suggestion(str(value), choices)
        raise ValueError(f"{shown(value)} is not one of {', '.join(choices)}{hint}")
    return kind(value)


def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    converter.register_structure_hook(bool, _strict(bool, "true or false"))
    converter.register_structure_hook(str, _string)
    converter.register_structure_hook(date, _date)
    converter.register_structure_hook(QuietHours, _parsed(parse_quiet_hours, "Mon-Fri 08:00-18:00"))
    converter.register_structure_hook(Seconds, _parsed(parse_duration, "24h"))
    converter.register_structure_hook(Bytes, _parsed(parse_size, "8GiB"))
    converter.register_structure_hook(Percent, _parsed(parse_percent, "80%"))
    converter.register_structure_hook(Count, _count)
    converter.register_structure_hook(Glob, _glob)
    for kind in (Action, Keep, Mode, State):
        converter.register_structure_hook(kind, _choice)

    def table(kind: Any) -> Hook:
        spelled = {
            each.name: override(rename=SPELLED[each.name])
            for each in fields(kind)
            if each.name in SPELLED
        }
        plain: Hook = make_dict_structure_fn(kind, converter, **spelled)  # type: ignore[arg-type]
        checked = _strict(dict, "a table")
        return lambda value, _type: plain(checked(value, _type), kind)

    def array(kind: Any) -> Hook:
        items: Any = list[get_args(kind)[0]]  # type: ignore[misc]
        checked = _strict(list, "a list")
        return lambda value, _type: tuple(converter.structure(checked(value, _type), items))

    def is_table(kind: Any) -> bool:
        return is_dataclass(kind) and kind is not QuietHours

    def is_array(kind: Any) -> bool:
        return get_origin(kind) is tuple

    converter.register_structure_hook_factory(is_table, table)
    converter.register_structure_hook_factory(is_array, array)
    return converter


_CONVERTER = _converter()


def _problems(error: BaseException, path: Path) -> Iterator[str]:
    """Walk the tree of errors down to its leaves; their notes say where each one is."""
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            path = (*path, SPELLED.get(note.name, note.name))
        elif isinstance(note, IterableValidationNote):
            path = (*path[:-1], f"{path[-1]}[{int(note.index) + 1}]")
    key = ".".join(path)
    if isinstance(error, BaseValidationError):
        for each in error.exceptions:
            yield from _problems(each, path)
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [SPELLED.get(each.name, each.name) for each in fields(error.cl)]
        for extra in sorted(error.extra_fields):
            where = ".".join((*path, extra))
            yield f"{where}: unknown key{suggestion(extra, known)}"
    elif isinstance(error, KeyError):
        yield f"{key}: is missing"
    else:
        yield f"{key}: {error}"


# What single keys cannot say: contradictions between them.


def _contradictions_of_the_rest(data: dict[str, Any]) -> list[str]:
    """Return the contradictions among the top-level keys that are right by themselves."""
    right: dict[str, Any] = {"rule": []}
    for key, value in data.items():
        try:
            _CONVERTER.structure({key: value}, Policy)
        except BaseValidationError:
            continue
        right[key] = value
    found = _contradictions(_CONVERTER.structure(right, Policy))
    return [problem for problem in found if re.split(r"[.\[]", problem)[0] in data.keys() & right]


def _contradictions(policy: Policy) -> list[str]:
    names = [rule.name for rule in policy.rules]
    problems = [
        f'rule[{index}].name: "{name}" stands twice'
        for index, name in enumerate(names, 1)
        if name in names[: index - 1]
    ]
    for index, rule in enumerate(policy.rules, 1):
        problems += [f"rule[{index}].{words}" for words in _rule_problems(rule, policy)]
    problems += [
        f"exempt[{index}].reason: must say why"
        for index, exemption in enumerate(policy.exempt, 1)
        if not exemption.reason.strip()
    ]
    if policy.notify.every > policy.store.history:
        problems.append("notify.every: is longer than store.history, so it cannot be kept")
    if _covers_the_week(policy.terminate.quiet_hours):
        problems.append("terminate.quiet_hours: cover the whole week, so nothing could ever end")
    shared = policy.fleet.snapshot
    if shared is not None and not shared.startswith("/"):
        problems.append(f'fleet.snapshot: must be a path from the root on, not "{shared}"')
    return problems + [f"notify.{words}" for words in _notify_problems(policy.notify, policy.mode)]


def _covers_the_week(windows: tuple[QuietHours, ...]) -> bool:
    week = 7 * DAY
    return first_allowed(week, windows) >= 2 * week - DAY


def _rule_problems(rule: Rule, policy: Policy) -> Iterator[str]:
    when = rule.when
    if not conditions(when):
        yield "when: must hold at least one condition"
    if (when.cpu_over is None) != (when.cpu_for is None):
        yield "when: cpu_over and cpu_for go together"
    if rule.keep is not None and when.user_sessions_over is None:
        yield "keep: goes with the condition user_sessions_over"
    if rule.action is Action.TERMINATE:
        if not rule.notice:
            yield 'notice: is missing; a rule that terminates says how long before ("24h")'
        if when.state not in (None, State.ABANDONED):
            yield 'when.state: only "abandoned" can be terminated'
    elif rule.notice is not None:
        yield "notice: goes with the action terminate"
    for key, value in (("for", when.lasting), ("cpu_for", when.cpu_for)):
        if value is not None and value > policy.store.history:
            yield f"when.{key}: is longer than store.history, so it can never be known"


def _notify_problems(notify: Notify, mode: Mode) -> Iterator[str]:
    if notify.smtp is not None and notify.sendmail is not None:
        yield "sendmail: goes without smtp; keep one of them"
    if notify.smtp is not None and not _is_host_and_port(notify.smtp):
        yield f'smtp: must be host:port ("localhost:25"), not "{notify.smtp}"'
    if notify.address is not None and "{user}" not in notify.address:
        yield 'address: must hold {user} ("{user}@example.edu")'
    admins = ((f"admins[{index}]", each) for index, each in enumerate(notify.admins, 1))
    single = (("from", notify.sender), ("reply_to", notify.reply_to), ("address", notify.address))
    for key, text in (*single, *admins):
        if text is not None and not text.isprintable():
            yield f"{key}: must be one line without control characters"
    if mode is not Mode.OBSERVE:
        transport = notify.smtp or notify.sendmail
        for key, text in (
            ("from", notify.sender),
            ("address", notify.address),
            ("smtp", transport),
        ):
            if not text:
                yield f'{key}: is missing; mode = "{mode}" sends mail'


def _is_host_and_port(text: str) -> bool:
    host, _, port = text.rpartition(":")
    number = port.isascii() and port.isdecimal() and len(port) <= 5
    return bool(host) and number and 0 < int(port) < 1 << 16
