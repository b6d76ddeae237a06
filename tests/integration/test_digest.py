"""`vscadmin digest` on a real store, printed and mailed to a real mail server."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from tests.integration.as_user import as_user
from tests.integration.office import Office, free_port
from tests.run import vscadmin
from tests.stores import delivered, new, run, scan, termination, trees
from vscadmin.cleanup.records import Outcome, Result

HOUR = 3600.0
DAY = 24 * HOUR
HOST = os.uname().nodename

Site = Callable[[str], str]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a function that writes a policy with more in it, for a week of a store."""
    store, file = tmp_path / "lib" / "store.sqlite", tmp_path / "policy.toml"
    now, (one, two, three) = time.time(), trees(3)
    with new(store.parent) as opened:
        scan(opened, [one, two, three], now - 5 * DAY)
        scan(opened, [three], now - HOUR)
        limit = "34 trees at once, terminate.max_trees_per_run = 20"
        once = "To carry it out once: vscadmin cleanup --approve 3f9c2a7d10be"
        words = (f"plan 3f9c2a7d10be refused, nothing is done: {limit}. {once}",)
        opened.begin_run(run("r1", now - 4 * DAY, outcome=Outcome.REFUSED, words=words))
        opened.begin_run(run("r2", now - 9 * DAY, outcome=Outcome.DONE))
        delivered(opened, one, now - 3 * DAY)
        for each, at in ((one, now - 2 * DAY), (two, now - 20 * DAY)):
            begun = termination(each, at)
            opened.begin_termination(begun)
            opened.finish_termination(replace(begun, result=Result.ENDED, finished_at=at + 2))

    def write(more: str) -> str:
        file.write_text(f'version = 1\n{more}\n[store]\npath = "{store}"\n', encoding="utf-8")
        return str(file)

    return write


def mailing(office: Office, *admins: str) -> str:
    named = ", ".join(f'"{each}"' for each in admins)
    return (
        f'[notify]\nsmtp = "127.0.0.1:{office.port}"\nfrom = "hpc@example.edu"\n'
        f'address = "{{user}}@example.edu"\nadmins = [{named}]'
    )


def lasting(text: str) -> list[str]:
    """Return what does not change from one moment to the next."""
    return [line for line in text.splitlines()[2:] if not line.startswith("In jobs now")]


def test_it_says_what_the_last_week_came_to(site: Site) -> None:
    done = vscadmin("digest", "--policy", site(""))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"vscadmin on {HOST}, ")
    assert lines[2:6] == [
        "Given back: 4M of memory; 1 server of 1 user ended.",
        "Regret: 0 servers whose owner opened the same product again within an hour.",
        "Told: 1 user, of 1 server; 0 not delivered.",
        "Runs: 1; 1 refused, 0 incomplete, 0 failed.",
    ]
    assert lines[6] == "Servers: 3 (12M) at first, 1 (4M) at last."
    assert "- plan 3f9c2a7d10be: 34 trees at once, terminate.max_trees_per_run = 20" in done.stdout


def test_a_longer_span_holds_more(site: Site) -> None:
    done = vscadmin("digest", "--policy", site(""), "--last", "30d")
    assert "Given back: 8M of memory; 2 servers of 1 user ended." in done.stdout
    assert "Runs: 2; 1 refused" in done.stdout


def test_it_speaks_of_no_time_that_the_store_has_forgotten(site: Site) -> None:
    policy = site("").replace("policy.toml", "short.toml")
    Path(policy).write_text(
        Path(site("")).read_text(encoding="utf-8") + 'history = "2d"\n', encoding="utf-8"
    )
    told = vscadmin("digest", "--policy", policy, "--last", "30d").stdout.splitlines()[0]
    then = date.fromtimestamp(time.time() - 2 * DAY)
    assert f"{then:%Y-%m-%d}" in told.partition(" to ")[0]


def test_it_is_mailed_to_every_admin_and_nothing_is_printed(site: Site, office: Office) -> None:
    policy = site(mailing(office, "root@example.edu", "hpc@example.edu"))
    printed = vscadmin("digest", "--policy", policy)
    done = vscadmin("digest", "--policy", policy, "--mail")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert [each.rcpt_tos for each in office.mails] == [["root@example.edu"], ["hpc@example.edu"]]
    mail = office.read()
    assert mail["Subject"] == f"[{HOST}] vscadmin digest of 7d: 1 server ended, 4M given back"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert lasting(mail.get_content()) == lasting(printed.stdout)


def test_an_admin_who_cannot_be_reached_harms_no_other(site: Site, office: Office) -> None:
    office.answers["gone@example.edu"] = "550 no such user"
    policy = site(mailing(office, "gone@example.edu", "root@example.edu"))
    done = vscadmin("digest", "--policy", policy, "--mail")
    assert done.returncode == 10
    assert done.stderr == "vscadmin: no mail to gone@example.edu: 550 no such user\n"
    assert [each.rcpt_tos for each in office.mails] == [["root@example.edu"]]


def test_a_mail_server_that_is_down_is_one_clear_line(site: Site) -> None:
    policy = site(mailing(Office(port=free_port()), "root@example.edu"))
    done = vscadmin("digest", "--policy", policy, "--mail")
    assert (done.returncode, done.stdout) == (10, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("vscadmin: no mail to root@example.edu: ")
    assert "Connection refused" in line


def test_without_an_admin_there_is_nobody_to_mail_to(site: Site) -> None:
    policy = site("")
    done = vscadmin("digest", "--policy", policy, "--mail")
    assert done.returncode == 78
    assert done.stderr == f"vscadmin: {policy}: notify.admins: names nobody to mail to\n"


def test_as_root_nothing_is_mailed_by_a_policy_that_others_could_change(
    root: None, site: Site, office: Office
) -> None:
    policy = site(mailing(office, "root@example.edu"))
    Path(policy).chmod(0o666)
    done = vscadmin("digest", "--policy", policy, "--mail")
    assert done.returncode == 78
    assert f"{policy}: its group or others can write it" in done.stderr
    assert office.mails == []


def test_where_nothing_was_stored_that_is_said(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(f'version = 1\n[store]\npath = "{tmp_path}/none"\n', encoding="utf-8")
    done = vscadmin("digest", "--policy", str(policy))
    assert done.returncode == 0
    assert done.stdout.startswith("Nothing stored yet: ")


def test_a_store_is_for_who_may_read_it(root: None) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)  # noqa: S103 - others have to read the policy in it
        policy, store = Path(folder, "policy.toml"), Path(folder, "lib", "store.sqlite")
        policy.write_text(f'version = 1\n[store]\npath = "{store}"\n', encoding="utf-8")
        new(store.parent).close()
        done = as_user("digest", "--policy", str(policy))
    assert (done.returncode, done.stdout) == (77, "")
    assert done.stderr == f"vscadmin: {store}: may be read by root only\n"


@pytest.mark.parametrize("span", ["5w", "7", "-1d", ""])
def test_a_span_that_is_none_is_a_usage_error(span: str) -> None:
    done = vscadmin("digest", "--last", span)
    assert done.returncode == 2
    assert "is no duration" in done.stderr
