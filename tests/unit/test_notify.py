"""What is said to whom: pure, with the real templates."""

from __future__ import annotations

import email
import email.policy
import os
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import ADA, CONFIRMED, NOW, launcher, process, tree
from vscadmin.cleanup import digest, letters
from vscadmin.cleanup.digest import Digest
from vscadmin.cleanup.letters import Letter, MailError, check_headers, compose, local_time, plain
from vscadmin.cleanup.notify import Author, Message, messages
from vscadmin.cleanup.recipients import MOST_TREES
from vscadmin.cleanup.records import Delivery, Identity, Notice, Result, Run, Termination
from vscadmin.cleanup.samples import load_templates, sample_values
from vscadmin.cleanup.wording import TEMPLATES
from vscadmin.errors import ConfigError
from vscadmin.model import Connections, Owner, Tree
from vscadmin.policy.decide import Plan, Scene, decide
from vscadmin.policy.quiet import parse_quiet_hours
from vscadmin.policy.settings import (
    Action,
    Bytes,
    Exemption,
    Mode,
    Notify,
    Policy,
    Rule,
    Seconds,
    State,
    Terminate,
    When,
)
from vscadmin.policy.states import Told

HOUR = 3600
HOST = "login01.example.edu"
DOCS = Path(__file__).parents[2] / "docs" / "notices.md"
NOTIFY = Notify(
    smtp="localhost:25",
    sender="HPC login nodes <noreply@example.edu>",
    reply_to="help@example.edu",
    address="{user}@example.edu",
    admins=("ops@example.edu", "boss@example.edu"),
    help_url="https://hpc.example.edu/vscode",
)
ENFORCE = Policy(mode=Mode.ENFORCE, notify=NOTIFY)
HEAVY = Rule("heavy", When(rss_over=Bytes(1)), Action.NOTIFY)
WORDING = load_templates(ENFORCE)
TODAY = datetime.fromtimestamp(NOW).date()
RUN = Run("run-1", HOST, NOW, "enforce", "0" * 64, plan_hash="feed" * 16)


def author(policy: Policy = ENFORCE) -> Author:
    wording = load_templates(policy) if policy.notify.templates else WORDING
    return Author(policy, HOST, "b00710ad", wording)


def plan(*trees: Tree, policy: Policy = ENFORCE, **facts: Any) -> Plan:
    owner, history = facts.get("owner", ADA), facts.get("history", CONFIRMED)
    scene = Scene(
        owners={each.root.uid: replace(owner, uid=each.root.uid) for each in trees},
        histories={each.key: history for each in trees},
    )
    return decide(trees, scene, policy, NOW)


def told(*trees: Tree, policy: Policy = ENFORCE, **facts: Any) -> Message:
    (only,) = messages(plan(*trees, policy=policy, **facts), {}, author(policy), NOW)
    return only


def old(pid: int, **facts: Any) -> Tree:
    return tree(root=launcher(pid, **facts), started_at=NOW - 100 * HOUR + pid)


# Who, how often, and of what.


def test_a_message_names_what_where_since_when_and_what_will_happen() -> None:
    body = told(old(4100)).body
    for words in (
        "Hello ada,",
        "VS Code, Remote-SSH",
        f"{HOST}, pid 4100",
        local_time(NOW - 80 * HOUR),
        f"not before {local_time(NOW + 24 * HOUR)}",
        "vscadmin mine --stop 4100",
        "Kill VS Code Server",
        "https://hpc.example.edu/vscode",
    ):
        assert words in body


def test_the_configuration_for_ssh_is_ready_to_be_copied() -> None:
    block = "\n".join(
        (
            "    Host login01-job",
            f"        HostName {HOST}",
            "        User ada",
            "        RemoteCommand vscode-shell-proxy",
        )
    )
    assert block in told(old(4100)).body


def test_the_notice_is_what_the_message_announces() -> None:
    (notice,) = told(old(4100)).notices
    assert notice == Notice(
        identity=Identity("b00710ad", *old(4100).key),
        user="ada",
        product="vscode",
        rule="abandoned",
        action=Action.TERMINATE,
        address="ada@example.edu",
        created_at=NOW,
        delivery=Delivery.SENDING,
        not_before=NOW + 24 * HOUR,
    )


def test_the_end_waits_for_quiet_hours() -> None:
    always_but_sundays = (parse_quiet_hours("Mon-Sat 00:00-24:00"),)
    policy = replace(ENFORCE, terminate=Terminate(quiet_hours=always_but_sundays))
    message = told(old(4100), policy=policy)
    (notice,) = message.notices
    assert notice.not_before is not None
    assert notice.not_before > NOW + 24 * HOUR
    assert local_time(notice.not_before).startswith("Sun")
    assert local_time(notice.not_before) in message.body


def test_mode_notify_announces_no_end() -> None:
    message = told(old(4100), policy=replace(ENFORCE, mode=Mode.NOTIFY))
    assert [each.not_before for each in message.notices] == [None]
    assert "will be ended" not in message.subject + message.body + message.line
    assert "no end is planned" in message.body


def test_a_server_in_use_is_told_of_and_not_threatened() -> None:
    client = Connections(("127.0.0.1:42179",), clients=("10.0.0.7:5000",))
    policy = replace(ENFORCE, rules=(HEAVY,))
    history = replace(CONFIRMED, state=State.CONNECTED)
    message = told(replace(old(4100), connections=client), policy=policy, history=history)
    assert message.notices[0].action is Action.NOTIFY
    assert "connected: since" in message.body
    assert "heavy: memory 1M, limit 0K" in message.body
    assert "ended" not in message.body


def test_a_hundred_servers_make_one_message_of_twenty_the_oldest() -> None:
    trees = [old(pid) for pid in range(5000, 5100)]
    message = told(*reversed(trees))
    assert [each.identity.pid for each in message.notices] == list(range(5000, 5020))
    assert len(message.notices) == MOST_TREES
    assert "And 80 more" in message.body
    assert "5020" not in message.body


def test_every_owner_gets_a_message_of_their_own() -> None:
    bob = Owner(1002, "bob")
    scene = Scene(
        owners={1001: ADA, 1002: bob},
        histories={old(pid, uid=uid).key: CONFIRMED for pid, uid in ((1, 1001), (2, 1002))},
    )
    trees = (old(1, uid=1001), old(2, uid=1002))
    found = messages(decide(trees, scene, ENFORCE, NOW), {}, author(), NOW)
    assert [(each.user, each.uid, each.address) for each in found] == [
        ("ada", 1001, "ada@example.edu"),
        ("bob", 1002, "bob@example.edu"),
    ]
    assert "bob" not in found[0].body


@pytest.mark.parametrize(
    ("last", "count"),
    [(None, 1), (NOW - 24 * HOUR, 1), (NOW - 24 * HOUR + 1, 0), (NOW, 0), (NOW + 60, 0)],
)
def test_a_user_gets_one_message_in_the_time_of_the_policy(last: float | None, count: int) -> None:
    assert len(messages(plan(old(4100)), {"ada": last}, author(), NOW)) == count


@pytest.mark.parametrize(
    ("failed", "every", "count"),
    [
        (None, 24 * HOUR, 1),
        (NOW, 24 * HOUR, 0),
        (NOW - HOUR + 1, 24 * HOUR, 0),
        (NOW - HOUR, 24 * HOUR, 1),
        (NOW - 59, 60, 0),
        (NOW - 60, 60, 1),
        (NOW + 60, 24 * HOUR, 1),
    ],
)
def test_a_user_whose_message_failed_is_tried_again_after_an_hour(
    failed: float | None, every: int, count: int
) -> None:
    policy = replace(ENFORCE, notify=replace(NOTIFY, every=Seconds(every)))
    due = plan(old(4100), policy=policy)
    assert len(messages(due, {}, author(policy), NOW, {"ada": failed})) == count
    recently = {"ada": NOW - every + 1}
    assert messages(due, recently, author(policy), NOW, {"ada": failed}) == ()


def test_an_unusual_user_name_gets_no_mail() -> None:
    for name in ("Ada", "ada@evil", "-f", "ada\nBcc: x", "a b", ""):
        for policy in (ENFORCE, replace(ENFORCE, rules=(HEAVY,))):
            strange = plan(old(4100), policy=policy, owner=Owner(1001, name))
            assert messages(strange, {}, author(policy), NOW) == ()


def test_a_server_that_is_not_confirmed_is_not_told_of() -> None:
    once = replace(CONFIRMED, clear_since=None, clear_scans=0)
    assert messages(plan(old(4100), history=once), {}, author(), NOW) == ()


def test_the_line_for_terminals_is_one_short_line() -> None:
    line = told(old(4100)).line
    assert "\n" not in line
    assert "pid 4100" in line
    assert len(line) < 200


# The text.


def test_a_body_is_76_columns_wide_but_for_what_is_copied() -> None:
    body = told(*[old(pid) for pid in range(5000, 5030)]).body
    assert max(map(len, body.splitlines())) <= letters.WIDTH
    long = "    Host " + "x" * 100
    assert plain(f"{'word ' * 40}\n{long}\n").splitlines()[-1] == long


def test_names_made_by_attackers_are_escaped_in_a_body() -> None:
    evil = "VS\x1b]0;owned\x07 Code\r\nBcc: all@example.edu\u202e"
    body = told(replace(old(4100), title=evil)).body
    assert not set(body) & set("\x1b\x07\r\u202e")
    assert "\nBcc:" not in body


def test_whatever_a_template_writes_is_safe_to_print() -> None:
    assert plain("a\x1b[2J\x00b\r\n\tc\n\n\n\n\u202ed") == (
        "a\\x1b[2J\\x00b\n        c\n\n\\u202ed\n"
    )


# Headers.

LETTER = Letter("ada@example.edu", "Your server", "Hello\n")
KNOWN = {"From", "To", "Reply-To", "Subject", "Date", "Message-ID", "Auto-Submitted"}
KNOWN |= {"Content-Type", "Content-Transfer-Encoding", "MIME-Version"}


def sent(letter: Letter, notify: Notify = NOTIFY, host: str = HOST) -> EmailMessage:
    text = compose(letter, notify, host, NOW).as_bytes()
    return email.message_from_bytes(text, policy=email.policy.SMTP)


def test_a_mail_has_the_headers_of_one_that_nobody_answers() -> None:
    mail = sent(LETTER)
    assert {key.title() for key in mail} == {key.title() for key in KNOWN}
    assert mail["From"] == "HPC login nodes <noreply@example.edu>"
    assert mail["To"] == "ada@example.edu"
    assert mail["Reply-To"] == "help@example.edu"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert re.fullmatch(rf"<vscadmin\.\d+\.[0-9a-f]+@{re.escape(HOST)}>", mail["Message-ID"])
    assert parsedate_to_datetime(mail["Date"]).timestamp() == NOW
    assert mail.get_content_type() == "text/plain"


@pytest.mark.parametrize("text", ["Grüße aus Zürich, 重要\n", "x" * 5000 + "\n", "a\n.\nb\n"])
def test_a_body_arrives_as_it_was_written(text: str) -> None:
    raw = compose(replace(LETTER, body=text), NOTIFY, HOST, NOW).as_bytes()
    assert raw.isascii()
    assert max(map(len, raw.splitlines())) < 998
    mail = email.message_from_bytes(raw, policy=email.policy.SMTP)
    assert mail.get_content().replace("\r\n", "\n") == text


def test_a_subject_beyond_ascii_is_encoded() -> None:
    assert sent(replace(LETTER, subject="Ihr Server läuft"))["Subject"] == "Ihr Server läuft"


BREAKS = ["\n", "\r", "\r\n", "\x00", "\x0b", "\x0c", "\x1b", "\x7f", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("character", BREAKS)
@pytest.mark.parametrize("header", ["From", "To", "Reply-To", "Subject"])
def test_a_control_character_in_a_header_is_refused_by_its_name(
    header: str, character: str
) -> None:
    evil = f"x{character}Bcc: all@example.edu"
    letter, notify = LETTER, NOTIFY
    if header == "From":
        notify = replace(NOTIFY, sender=f"{evil} <a@example.edu>")
    elif header == "Reply-To":
        notify = replace(NOTIFY, reply_to=evil)
    elif header == "To":
        letter = replace(LETTER, address=evil)
    else:
        letter = replace(LETTER, subject=evil)
    with pytest.raises(MailError, match=f"mail header {header}: holds a control character"):
        compose(letter, notify, HOST, NOW)


@pytest.mark.parametrize(
    "address",
    ["", "-f@example.edu", "a b@example.edu", "a@b@c", "a,b@example.edu", "a@-x", "|sh", "<a@b"],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(MailError, match="To: "):
        compose(replace(LETTER, address=address), NOTIFY, HOST, NOW)


def test_all_wrong_headers_of_a_policy_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as found:
        check_headers(replace(NOTIFY, sender="nobody at all", admins=("a b",)))
    assert len(found.value.problems) == 2


@settings(max_examples=300)
@given(
    subject=st.text(), address=st.text(), name=st.text(), reply_to=st.text(), host=st.text(),
    body=st.text(),
)  # fmt: skip
def test_no_text_ever_makes_a_header_of_its_own(
    subject: str, address: str, name: str, reply_to: str, host: str, body: str
) -> None:
    """Whatever is not refused has our headers, each once, and the recipient asked for."""
    for letter, notify in (
        (Letter("ada@example.edu", subject, plain(body)), NOTIFY),
        (replace(LETTER, address=address), NOTIFY),
        (LETTER, replace(NOTIFY, sender=f"{name} <a@example.edu>", reply_to=reply_to or None)),
    ):
        try:
            mail = sent(letter, notify, host)
        except MailError:
            continue
        keys = [key.title() for key in mail]
        assert len(keys) == len(set(keys))
        assert set(keys) <= {key.title() for key in KNOWN}
        assert mail["To"] in (letter.address, letter.address.strip("<>"))
        assert not mail.defects


HOSTILE = st.text(st.one_of(st.characters(), st.sampled_from("\r\n\t:<>\x00\x1b\u2028\u202e{}%")))


@settings(max_examples=100)
@given(title=HOSTILE, product=HOSTILE, rule=HOSTILE.filter(bool), host=HOSTILE)
def test_no_fact_of_a_tree_ever_makes_a_header_or_a_line_of_its_own(
    title: str, product: str, rule: str, host: str
) -> None:
    rules = (Rule(rule, When(rss_over=Bytes(1)), Action.NOTIFY),)
    policy = replace(ENFORCE, rules=rules)
    writer = replace(author(), policy=policy, host=host)
    found = replace(old(4100), title=title)
    judged = plan(found, policy=policy)
    renamed = tuple(replace(each, tree=replace(found, product=product)) for each in judged)
    (message,) = messages(renamed, {}, writer, NOW)
    assert not set(message.body) & set("\r\t\x00\x1b\u2028\u202e")
    try:
        mail = sent(message.letter, host=host)
    except MailError:
        return
    assert {key.title() for key in mail} == {key.title() for key in KNOWN}


# The templates of a site.


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., Policy]:
    def written(name: str, text: str | bytes, mode: int = 0o644) -> Policy:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return replace(ENFORCE, notify=replace(NOTIFY, templates=str(tmp_path)))

    return written


Site = Callable[..., Policy]


def test_the_template_of_a_site_goes_before_ours(site: Site) -> None:
    message = told(old(4100), policy=site("notice.txt.j2", "Dear {{ user }}: {{ servers[0].pid }}"))
    assert message.body == "Dear ada: 4100\n"
    assert "An unused" in message.subject, "those it does not have are ours"


def test_a_site_can_replace_a_part_of_ours(site: Site) -> None:
    text = '{% extends "vscadmin/notice.txt.j2" %}{% block job %}Ask us.{% endblock %}'
    text += "{% block closing %}{{ super() }}{% for n in range(2) %}{{ loop.index }}{% endfor %}"
    text += "{% endblock %}"
    body = told(old(4100), policy=site("notice.txt.j2", text)).body
    assert "Ask us." in body
    assert "Hello ada" in body
    assert "Questions: help@example.edu\n12\n" in body
    assert "RemoteCommand" not in body


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a\nb\n{{ usr }}", r"notice\.txt\.j2:3: no such variable: usr"),
        ("{% if false %}{{ usr }}{% endif %}x", "no such variable: usr"),
        ("a\n{{ servers[0].pdi }}", r"notice\.txt\.j2:2: .*pdi"),
        ("a\n\n{% fi %}", r"notice\.txt\.j2:3: .*unknown tag 'fi'"),
        ("{{ 1 / 0 }}", r"notice\.txt\.j2:1: division by zero"),
        ('\n{% include "gone.j2" %}', r"gone\.j2"),
        ('\n{% include "../notice.txt.j2" %}', r"\.\./notice"),
        ("\n{{ user.__class__.__mro__ }}", r"notice\.txt\.j2:2: .*__class__"),
        ("{{ servers.clear() }}", r"notice\.txt\.j2:1: .*'clear' of 'list' object is unsafe"),
        ("{{ range(10000000)|list }}", r"notice\.txt\.j2:1: Range too big"),
        (b"\xff\xfe", "is not UTF-8"),
        ("   \n", "gives an empty text"),
    ],
)
def test_a_template_that_fails_is_refused_with_its_line(
    site: Site, text: str | bytes, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        load_templates(site("notice.txt.j2", text))


def test_all_templates_that_fail_are_named_at_once(site: Site) -> None:
    site("digest.txt.j2", "{{ nothing }}")
    policy = site("notice-subject.txt.j2", "two\nlines")
    with pytest.raises(ConfigError) as found:
        load_templates(policy)
    assert len(found.value.problems) == 2
    assert "mail header Subject" in str(found.value)


def test_a_misspelt_template_is_not_passed_over(site: Site) -> None:
    site("_footer.j2", "the site's own, for its other templates")
    with pytest.raises(ConfigError, match=r"notce\.txt\.j2: is no template .* notice\.txt\.j2\?"):
        load_templates(site("notce.txt.j2", "Hello"))


def test_a_directory_of_templates_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match="/nonexistent: No such file"):
        load_templates(replace(ENFORCE, notify=replace(NOTIFY, templates="/nonexistent")))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is that careful")
def test_root_reads_no_template_that_others_can_change(site: Site, tmp_path: Path) -> None:
    """Neither one of ours nor one that it includes, through a link either."""
    with pytest.raises(ConfigError, match="its group or others can write it"):
        load_templates(site("notice.txt.j2", "Hello", 0o666))
    site("elsewhere", "x", 0o666)
    (tmp_path / "_part.j2").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="elsewhere: its group or others can write it"):
        load_templates(site("notice.txt.j2", '{% include "_part.j2" %}'))


def test_every_variable_of_every_template_is_explained() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for name in TEMPLATES:
        section = text.split(f"`{name}`", 1)[1]
        assert section, name
        for values in sample_values(name, author()):
            lists = [value[0] for value in values.values() if isinstance(value, list) and value]
            inner = {key for value in lists if isinstance(value, dict) for key in value}
            for key in {*values, *inner}:
                assert f"| `{key}` |" in text, f"{key} of {name}"


# The digest.


def notice(**facts: Any) -> Notice:
    known: dict[str, Any] = {
        "identity": Identity("b00710ad", 4100, 1),
        "user": "ada",
        "product": "vscode",
        "rule": "abandoned",
        "action": Action.TERMINATE,
        "address": "ada@example.edu",
        "created_at": NOW,
        "delivery": Delivery.DELIVERED,
    }
    return Notice(**{**known, **facts})


def termination(**facts: Any) -> Termination:
    known: dict[str, Any] = {
        "identity": Identity("b00710ad", 4100, 1),
        "user": "ada",
        "product": "vscode",
        "rule": "abandoned",
        "started_at": NOW,
        "result": Result.ENDED,
    }
    return Termination(**{**known, **facts})


def test_a_digest_says_what_was_done_and_what_was_not() -> None:
    failed = notice(user="bob", delivery=Delivery.FAILED, error="550 no such user")
    spared = termination(user="eve", result=Result.SPARED, words=("client: 10.0.0.7:22",))
    survivors = termination(user="mal", result=Result.SURVIVORS, survivors=2)
    found = Digest(
        RUN,
        notices=(notice(), failed),
        terminations=(termination(rss=1 << 30, finished_at=NOW + 3), spared, survivors),
        problems=("the store was set aside: store.sqlite.corrupt",),
    )
    first, second = digest.digest_letters(found, author())
    assert (first.address, second.address) == ("ops@example.edu", "boss@example.edu")
    assert first.subject == f"[{HOST}] vscadmin cleanup: 1 told, 1 ended, 1 problem"
    for words in (
        "ada pid 4100: vscode, rule abandoned, 1.0G, took 3s",
        "550 no such user",
        "client: 10.0.0.7:22",
        "mal pid 4100: vscode, rule abandoned, 2 left",
        "the store was set aside",
    ):
        assert words in first.body


def test_a_digest_tells_what_may_have_arrived_from_what_has_not() -> None:
    late = notice(user="bob", delivery=Delivery.SENDING, error="no answer")
    body = digest.digest_letters(Digest(RUN, notices=(late,)), author())[0].body
    assert "Notices that may have arrived" in body
    assert "ada@example.edu: no answer" in body
    assert "not delivered" not in body


def test_a_digest_has_fifty_lines_at_most_what_matters_first() -> None:
    found = Digest(
        RUN,
        notices=tuple(notice(user=f"u{index}") for index in range(100)),
        terminations=tuple(termination(user=f"t{index}") for index in range(30)),
        problems=("runs turned away: 3",),
    )
    body = digest.digest_letters(found, author())[0].body
    lines = [line for line in body.splitlines() if line.startswith("- ")]
    assert len(lines) == 51
    assert lines[0] == "- runs turned away: 3"
    assert lines[-1] == "- and 81 more"


@pytest.mark.parametrize(
    ("facts", "first", "again"),
    [
        ({}, False, False),
        ({"notices": (notice(),)}, True, True),
        ({"terminations": (termination(),)}, True, True),
        ({"problems": ("x",)}, True, True),
        ({"run": replace(RUN, words=("x",))}, True, True),
        ({"notices": (notice(delivery=Delivery.FAILED),)}, True, False),
        ({"left_alone": ("x",)}, True, False),
        ({"exemptions": (Exemption("ada", TODAY, "x"),)}, True, False),
    ],
)
def test_a_digest_is_sent_only_when_there_is_something_to_say(
    facts: dict[str, Any], first: bool, again: bool
) -> None:
    """What merely persists would else be told every ten minutes for ever."""
    found = Digest(**{"run": RUN, **facts})
    assert digest.is_due(found, None, ENFORCE, NOW) is first
    assert digest.is_due(found, NOW - HOUR, ENFORCE, NOW) is again
    assert digest.is_due(found, NOW - 24 * HOUR, ENFORCE, NOW) is first


def test_what_is_left_alone_is_named() -> None:
    root_inside = replace(old(4100), foreign=(process(4200, "sudo", uid=0),))
    assert digest.left_alone(plan(root_inside)) == (
        "ada pid 4100: holds processes of other users, never signalled: pid 4200",
    )
    (words,) = digest.left_alone(plan(old(4100), owner=Owner(1001, "Ada\n")))
    assert words.startswith("Ada\\x0a pid 4100: the user name has unusual characters")
    assert digest.left_alone(plan(old(4100))) == ()


def test_exemptions_near_their_end_are_named_the_nearest_first() -> None:
    ends = [("bob", 7), ("ada", 0), ("eve", 8), ("mal", -1)]
    exempt = tuple(Exemption(user, TODAY + timedelta(days), "why") for user, days in ends)
    found = digest.exemptions(replace(ENFORCE, exempt=exempt), NOW)
    assert [each.user for each in found] == ["ada", "bob"]


def test_a_refusal_says_why_and_how_to_let_it_through() -> None:
    history = replace(CONFIRMED, told=Told(NOW - 25 * HOUR, NOW - HOUR))
    trees = [old(pid) for pid in range(5000, 5060)]
    refused = plan(*trees, history=history)
    reasons = ("60 terminations planned, 20 allowed",)
    letter, _ = digest.refusal_letters(RUN, reasons, refused, author())
    assert letter.subject == f"[{HOST}] vscadmin cleanup refused to end 60 servers"
    assert f"vscadmin cleanup --approve {'feed' * 16}" in letter.body
    assert "60 servers of 1 user:" in letter.body
    assert letter.body.count("ada pid ") == 50
    assert "- and 10 more" in letter.body
