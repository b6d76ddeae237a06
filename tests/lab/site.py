"""A site's side of the lab: its policy, its mailboxes, and what its admin asks and is told."""

from __future__ import annotations

import email
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from typing import Any

from tests.lab.cluster import Cluster
from tests.lab.node import Node

TEXTFILE = "/run/vscadmin.prom"
PROXY_SETTINGS = "/etc/vscadmin/proxy.toml"
STORE = "/var/lib/vscadmin/store.sqlite"
POLICY = """
version = 1
mode = "{mode}"
[session]
grace_default = "1s"
grace_max = "1s"
confirm = 1
[[rule]]
name = "abandoned"
when = {{ state = "abandoned" }}
action = "terminate"
notice = "{notice}"
[terminate]
term_wait = "5s"
max_trees_per_run = {most}
[notify]
smtp = "{smtp}"
from = "HPC login nodes <noreply@cluster.test>"
address = "{{user}}@cluster.test"
admins = ["ops@cluster.test"]
every = "{every}"
help_url = "https://hpc.example.edu/vscode"
[output]
textfile = "/run/vscadmin.prom"
"""


def policy(**changes: object) -> str:
    """Return a policy of short times; *changes* are mode, notice, smtp, every and most."""
    usual: dict[str, object] = {"mode": "enforce", "notice": "1s", "smtp": "ctl:25"}
    return POLICY.format(**{**usual, "every": "1s", "most": 20, **changes})


@contextmanager
def site(cluster: Cluster) -> Iterator[Cluster]:
    """Give both login nodes a policy, no store yet and empty mailboxes; nothing is scheduled."""
    cluster["ctl"].run("sh", "-c", "rm -f /var/mail/all/new/*")
    for node in cluster.login_nodes:
        node.write("/etc/vscadmin/policy.toml", policy())
    try:
        yield cluster
    finally:
        for node in cluster.login_nodes:
            for path in ("/etc/vscadmin", "/etc/cron.d/vscadmin-cleanup", TEXTFILE):
                node.run("rm", "-rf", path)
            node.run("rm", "-rf", "/var/lib/vscadmin", "/var/log/cleanup.out")


@contextmanager
def proxy_settings(cluster: Cluster, text: str) -> Iterator[None]:
    """Give both login nodes *text* as /etc/vscadmin/proxy.toml."""
    for node in cluster.login_nodes:
        node.write(PROXY_SETTINGS, text)
    try:
        yield
    finally:
        for node in cluster.login_nodes:
            node.run("rm", "-f", PROXY_SETTINGS)


def cleanup(node: Node, *options: str) -> subprocess.CompletedProcess[str]:
    """Run cleanup once, as root on *node*."""
    return node.run("vscadmin", "cleanup", *options, check=False)


def asked(node: Node, *command: str) -> dict[str, Any]:
    """Return the JSON that a command prints on *node*."""
    done = node.run("vscadmin", *command, "--json", check=False)
    assert done.returncode in (0, 10), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def mails(cluster: Cluster, to: str) -> list[Message]:
    """Return the mails that the mail server took for the user *to*, the oldest first."""
    script = "cd /var/mail/all/new && for mail in $(ls -tr); do cat $mail; printf '\\0'; done"
    raw = cluster["ctl"].run("sh", "-c", script, check=False).stdout
    found = (email.message_from_string(each) for each in raw.split("\0") if each.strip())
    return [mail for mail in found if mail["X-RcptTo"] == f"{to}@cluster.test"]


def body(mail: Message) -> str:
    """Return the text of *mail*."""
    return bytes(mail.get_payload(decode=True)).decode()


def alive(node: Node, pid: int) -> bool:
    """Tell whether *pid* runs on *node*, in its own numbers; a zombie does not."""
    state = node.run("ps", "-o", "stat=", "-p", str(pid), check=False).stdout.strip()
    return state != "" and not state.startswith("Z")


def stopped(node: Node) -> list[str]:
    """Return the processes on *node* that are stopped."""
    rows = node.run("ps", "-eo", "stat=,pid=,args=").stdout.splitlines()
    return [row for row in rows if row.startswith("T")]


def metric(node: Node, name: str, **labels: str) -> float:
    """Return the sum of a metric over the series that have *labels*."""
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415

    families = text_string_to_metric_families(node.read(TEXTFILE))
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
