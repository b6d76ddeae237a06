"""policy.toml: what is read, and that everything wrong is told at once, key by key."""

from __future__ import annotations

import os

import pytest

from vscadmin import policy
from vscadmin.config import check_products, parse_policy
from vscadmin.errors import ConfigError, Exit
from vscadmin.policy.settings import Action, Mode, Policy

RULE = """
[[rule]]
name = "old"
when = { state = "abandoned", for = "24h" }
action = "terminate"
notice = "24h"
"""
MAIL = """
[notify]
smtp = "localhost:25"
from = "HPC <noreply@example.edu>"
address = "{user}@example.edu"
"""


def parse(text: str) -> Policy:
    return parse_policy(f"version = 1\n{text}".encode(), "p.toml")


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.exit_code is Exit.BAD_CONFIGURATION
    return caught.value.problems


def test_the_starter_is_the_built_in_policy() -> None:
    path = os.path.join(os.path.dirname(policy.__file__), "starter.toml")
    with open(path, "rb") as file:
        assert parse_policy(file.read(), path) == Policy()


def test_a_policy_without_rules_has_none() -> None:
    assert parse("").rules == ()


def test_a_site_policy_is_read() -> None:
    found = parse('mode = "enforce"\n' + RULE + MAIL)
    assert (found.mode, found.rules[0].action) == (Mode.ENFORCE, Action.TERMINATE)
    assert found.rules[0].when.lasting == 86400


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('mod = "observe"', 'mod: unknown key; did you mean "mode"?'),
        ('mode = "enfroce"', 'is not one of observe, notify, enforce; did you mean "enforce"?'),
        ('[session]\ngrace_default = "5w"', 'session.grace_default: "5w" is no duration'),
        ("[session]\ngrace_default = 3", "session.grace_default: must be a string"),
        ("[session]\nconfirm = 0", "session.confirm: must be a whole number from 1 on"),
        ("[session]\nconfirm = true", "session.confirm: must be a whole number from 1 on"),
        ('[scope]\nproducts = "vscode"', "scope.products: must be a list"),
        ("[protect]\nusers = [1]", "protect.users[1]: must be a string"),
        ('[protect]\ncommands = ["a/b"]', "protect.commands[1]: must be a pattern"),
        ("[protect]\nterminal_jobs = 1", "protect.terminal_jobs: must be true or false"),
        ("scope = 3", "scope: must be a table"),
        ('[[exempt]]\nuser = "a"\nreason = "x"', "exempt[1].until: is missing"),
        ('[[exempt]]\nuser = "a"\nreason = "x"\nuntil = "2027-01-31"', "date without quotes"),
        ('[[exempt]]\nuser = "a"\nreason = " "\nuntil = 2027-01-31', "exempt[1].reason"),
        ('[terminate]\nquiet_hours = ["Mo 8-18"]', "terminate.quiet_hours[1]"),
        (
            '[terminate]\nquiet_hours = ["Mon-Fri 00:00-24:00", "Sat-Sun 00:00-24:00"]',
            "terminate.quiet_hours: cover the whole week",
        ),
        ('[notify]\nadmins = ["a@b\\nBcc: c"]', "notify.admins[1]: must be one line"),
        ('[notify]\nsmtp = "localhost:\u00b2"', "notify.smtp: must be host:port"),
        ('[notify]\nsmtp = "localhost"', "notify.smtp: must be host:port"),
        ('[notify]\nsmtp = "x:25"\nsendmail = "/s"', "notify.sendmail: goes without smtp"),
        ('[notify]\naddress = "x@y"', "notify.address: must hold {user}"),
        ('[notify]\nfrom = "a\\nBcc: b"', "notify.from: must be one line"),
        ('mode = "notify"', 'notify.from: is missing; mode = "notify" sends mail'),
        (RULE.replace('notice = "24h"', ""), "rule[1].notice: is missing"),
        (RULE.replace('notice = "24h"', 'notice = "0s"'), "rule[1].notice: is missing"),
        (RULE.replace("abandoned", "connected"), 'only "abandoned" can be terminated'),
        (RULE.replace("terminate", "notify"), "rule[1].notice: goes with the action terminate"),
        (RULE.replace('"24h" }', '"99d" }'), "rule[1].when.for: is longer than store.history"),
        (RULE.replace("for", "fro"), 'rule[1].when.fro: unknown key; did you mean "for"?'),
        (RULE + RULE, 'rule[2].name: "old" stands twice'),
        (RULE + 'keep = "newest"', "rule[1].keep: goes with the condition user_sessions_over"),
        ('[[rule]]\nname = "x"\naction = "keep"\nwhen = {}', "must hold at least one condition"),
        (
            '[[rule]]\nname = "x"\naction = "keep"\nwhen = { cpu_over = "8%" }',
            "rule[1].when: cpu_over and cpu_for go together",
        ),
    ],
)
def test_an_error_names_its_key_and_what_would_be_right(text: str, said: str) -> None:
    found = problems(text)
    assert any(said in each for each in found), found
    assert all(each.startswith("p.toml: ") for each in found)


def test_contradictions_are_told_beside_other_errors() -> None:
    found = problems("[scope]\nuid_min = 0\n" + RULE + RULE + '[notify]\nsmtp = "x"\n')
    assert [each.split(": ")[1] for each in found] == [
        "scope.uid_min",
        "rule[2].name",
        "notify.smtp",
    ]


def test_all_errors_come_at_once() -> None:
    text = '[scope]\nuid_mn = 5\n[session]\ngrace_max = ""\n' + RULE.replace("24h", "1.5d")
    assert len(problems(text)) == 4


@pytest.mark.parametrize("version", ["", "version = 2", 'version = "1"', "version = true"])
def test_the_version_is_required(version: str) -> None:
    with pytest.raises(ConfigError, match="version: must be 1"):
        parse_policy(version.encode(), "p.toml")


@pytest.mark.parametrize("text", [b"[[rule", b"\xff\xfe"])
def test_what_is_no_toml_is_told(text: bytes) -> None:
    with pytest.raises(ConfigError, match=r"p\.toml: is no TOML"):
        parse_policy(text, "p.toml")


def test_products_are_held_against_the_catalogue() -> None:
    found = parse(
        '[scope]\nproducts = ["vscod", "ssh-tunnel"]\n'
        + RULE.replace("state", 'product = "nope", state')
    )
    with pytest.raises(ConfigError) as caught:
        check_products(found, "p.toml", {"vscode", "ssh-tunnel"}, {"ssh-tunnel"})
    assert caught.value.problems == (
        'p.toml: scope.products: "vscod" is no product of the catalogue; did you mean "vscode"?',
        'p.toml: scope.products: "ssh-tunnel" is only reported, no rule can act on it',
        'p.toml: rule[1].when.product: "nope" is no product of the catalogue',
    )
