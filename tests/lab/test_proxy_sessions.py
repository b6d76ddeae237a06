"""What a researcher does in a session, through real ssh: scripts, shells, steps, ends."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.lab import faults
from tests.lab.cluster import Cluster
from tests.lab.session import COMMAND, Session
from tests.lab.site import proxy_settings
from tests.lab.topology import USERS
from tests.lab.traces import nothing_left

NO_BACKEND = 69
CONFIG = 78

# What a profile should not do, and does: it prints, and it reads what is meant for the shell.
PROFILES = {
    "alice": (".bash_profile", "echo noise; read -r line; export PROFILE=read; umask 027\n"),
    "dave": (".login", 'echo noise; set line = "$<"; setenv PROFILE read; umask 027\n'),
    "erin": (
        ".config/fish/config.fish",
        "if status is-login; echo noise; read line; set -x PROFILE read; umask 027; end\n",
    ),
}
LEFT_BEHIND = ("SSH_AUTH_SOCK", "DISPLAY", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
OF_THE_LAUNCHER = ("SLURM_MPI_TYPE", "SLURM_CPU_BIND")


def run(
    cluster: Cluster,
    script: str | bytes,
    *arguments: str,
    user: str = "alice",
    host: str = "login1",
    before: str = "",
) -> subprocess.CompletedProcess[bytes]:
    """Run ``ssh HOST vscode-shell-proxy ARGUMENTS < script``; *before* precedes the command."""
    data = script.encode() if isinstance(script, str) else script
    command = f"{before} {shlex.join([COMMAND, *arguments])}"
    return cluster.ssh(  # type: ignore[return-value]  # bytes: text=False
        user, host, command, check=False, input=data, text=False
    )


class TestStatus:
    def test_it_is_the_shells(self, cluster: Cluster) -> None:
        done = run(cluster, "echo out; echo err >&2; exit 7")
        assert (done.returncode, done.stdout) == (7, b"out\n")
        assert b"err\n" in done.stderr
        nothing_left(cluster, "alice", 5)

    def test_a_signal_of_the_shells_is_128_and_more(self, cluster: Cluster) -> None:
        assert run(cluster, "kill -KILL $$").returncode == 137

    def test_a_bad_partition_is_said_in_slurms_words(self, cluster: Cluster) -> None:
        done = run(cluster, "echo out", "-S", "--partition=nowhere")
        assert (done.returncode, done.stdout) == (NO_BACKEND, b"")
        assert b"invalid partition specified: nowhere" in done.stderr
        assert b"Traceback" not in done.stderr

    def test_scancel_ends_the_session_and_is_said(self, cluster: Cluster) -> None:
        with Session(cluster, "alice") as session:
            place = session.place()
            shown = cluster["ctl"].run("scontrol", "show", "job", str(place.job)).stdout
            assert f"JobName={COMMAND}" in shown
            assert f"Comment={COMMAND}" in shown
            cluster["ctl"].run("scancel", str(place.job))
            assert session.wait() == NO_BACKEND
            assert "cancel" in session.stderr
        nothing_left(cluster, "alice", 5)

    def test_a_broken_configuration_names_file_and_contact(self, cluster: Cluster) -> None:
        ever = ("squeue", "-h", "-o", "%i", "--states=all", "--user=alice")
        before = cluster["ctl"].run(*ever).stdout.split()
        with proxy_settings(cluster, 'contact = "hpc@cluster.test"\nmode = "fast"\n'):
            done = run(cluster, "echo out")
        assert (done.returncode, done.stdout) == (CONFIG, b"")
        assert b"/etc/vscadmin/proxy.toml" in done.stderr
        assert b"hpc@cluster.test" in done.stderr
        assert not set(cluster["ctl"].run(*ever).stdout.split()).difference(before)
        nothing_left(cluster, "alice", 5)


class TestStreams:
    def test_a_script_keeps_all_of_its_output(self, cluster: Cluster) -> None:
        """Its end is the end of stdin, and ends nothing by itself."""
        done = run(cluster, "sleep 1; seq 200000; exit 3")
        assert done.returncode == 3
        assert done.stdout == b"".join(b"%d\n" % number for number in range(1, 200001))

    def test_every_byte_passes_both_ways(self, cluster: Cluster) -> None:
        data = bytes(range(256)) * 300 + b"\r\n\rlast"
        assert run(cluster, b"exec cat\n" + data).stdout == data

    def test_a_prompt_is_not_held_back(self, cluster: Cluster) -> None:
        with Session(cluster, "alice") as session:
            session.place()
            session.send("printf 'login01$ '\n")
            session.expect(rb"login01\$ $")

    def test_a_sites_prolog_may_print(self, cluster: Cluster) -> None:
        with faults.task_prolog(cluster["c1"], "echo print listeningOn==1==; echo print noise"):
            assert run(cluster, "hostname", "-S", "--nodelist=c1").stdout == b"c1\n"

    def test_who_holds_stdout_in_the_background_holds_up_nobody(self, cluster: Cluster) -> None:
        """Seconds are for ssh and Slurm on a busy machine; the shell's end waits for 0.2 s."""
        alone, held = (ending(cluster, script) for script in ("exit 5", "sleep 300 & exit 5"))
        assert held - alone < 3
        nothing_left(cluster, "alice", 5)


def ending(cluster: Cluster, script: str) -> float:
    """Return the seconds from the shell's last command, which exits with 5, to the ssh's end."""
    with Session(cluster, "alice") as session:
        session.place()
        began = time.monotonic()
        session.send(f"{script}\n")
        assert session.wait() == 5
        return time.monotonic() - began


class TestShell:
    @pytest.mark.parametrize("user", PROFILES)
    def test_a_profile_is_run_and_does_no_harm(self, cluster: Cluster, user: str) -> None:
        path, profile = PROFILES[user]
        cluster["login1"].write(f"/home/{user}/{path}", profile, user=user)
        script = 'read -r line; echo "$line: $PROFILE $(umask) ${BASH_VERSION%%.*} $PWD"\nours\n'
        done = run(cluster, script, user=user)
        assert done.stdout == f"ours: read 0027 5 /home/{user}\n".encode(), done.stderr
        assert done.returncode == 0

    def test_its_environment_is_a_logins(self, cluster: Cluster) -> None:
        before = "env SSH_AUTH_SOCK=/tmp/agent DISPLAY=localhost:77.0"
        said = run(cluster, "exec env -0", before=before).stdout.split(b"\0")
        found = dict(each.decode().split("=", 1) for each in said if each)
        assert [name for name in found if name.startswith(OF_THE_LAUNCHER)] == []
        assert [name for name in LEFT_BEHIND if name in found] == []
        expected = {"HOME": "/home/alice", "USER": "alice", "SHELL": "/bin/bash"}
        assert {name: found.get(name) for name in expected} == expected

    def test_variables_come_along_when_asked_for(self, cluster: Cluster) -> None:
        script = 'echo "$lower $GIVEN ${OTHER-unset}"'
        arguments = ("-e", "lower", "-e", "GIVEN=a b")
        done = run(cluster, script, *arguments, before="env lower=case OTHER=")
        assert done.stdout in (b"case a b unset\n", b"case a b \n")


class TestSteps:
    def test_an_inner_srun_has_the_whole_job_and_the_sites_mpi(self, cluster: Cluster) -> None:
        arguments = ("--ntasks=4", "--nodes=2", "--gres=gpu:2")
        options = [word for each in arguments for word in ("-S", each)]
        script = (
            '{ echo "cards $CUDA_VISIBLE_DEVICES"\n'
            "srun hostname | sort -u | xargs; srun printenv PMI_RANK | sort | xargs\n"
            "timeout 30 srun -n2 -N1 echo two; echo status $?\n"
            "srun -n1 -N1 --gres=gpu:2 printenv CUDA_VISIBLE_DEVICES\n"
            "} </dev/null\n"  # srun reads what is meant for the shell, as it always does
        )
        done = run(cluster, script, *options)
        assert done.stdout.decode().splitlines() == [
            *("cards 0,1", "c1 c2", "0 1 2 3"),
            *("two", "two", "status 0", "0,1"),
        ]


class TestWaiting:
    def test_the_user_hears_why_and_then_the_session_goes_on(self, cluster: Cluster) -> None:
        with faults.closed(cluster), Session(cluster, "alice") as waiting:
            assert "PartitionDown" in waiting.said("job [0-9]+ .*partition")
            cluster["ctl"].run("scontrol", "update", "partitionname=devel", "state=up")
            place = waiting.place()
            assert waiting.said(f"job {place.job} runs on {place.node}")
            waiting.send("exit 4\n")
            assert waiting.wait() == 4


class TestPlaces:
    def test_the_command_is_on_every_login_nodes_path(self, cluster: Cluster) -> None:
        """The common name leads to one of them in turn."""
        ask = partial(run, cluster, "echo $SLURM_SUBMIT_HOST", host="login")
        with ThreadPoolExecutor(len(USERS)) as pool:
            done = list(pool.map(lambda user: ask(user=user.name), USERS))
        assert {each.stdout for each in done} == {b"login1\n", b"login2\n"}

    @pytest.mark.parametrize(
        ("launcher", "node", "job"), [("srun", b"c1", b"job"), ("shell", b"login1", b"")]
    )
    def test_a_site_chooses_the_launcher(
        self, cluster: Cluster, launcher: str, node: bytes, job: bytes
    ) -> None:
        with proxy_settings(cluster, f'version = 1\nlauncher = "{launcher}"\n'):
            done = run(cluster, "echo $(hostname) ${SLURM_JOB_ID:+job}; exit 7")
        assert (done.returncode, done.stdout.split()) == (7, [node, job][: 1 + bool(job)])
        nothing_left(cluster, "alice", 5)


class TestNodesWithoutPython:
    """On c2 no Python can be run, as on a node of an image that has none."""

    @pytest.fixture(autouse=True)
    def _none_on_c2(self, cluster: Cluster) -> Iterator[None]:
        found = cluster["c2"].run("readlink", "-f", "/usr/bin/python3").stdout.strip()
        cluster["c2"].run("chmod", "a-x", found)
        try:
            yield
        finally:
            cluster["c2"].run("chmod", "a+x", found)

    def test_a_line_names_node_and_contact(self, cluster: Cluster) -> None:
        with proxy_settings(cluster, 'version = 1\ncontact = "hpc@cluster.test"\n'):
            done = run(cluster, "echo out; exit 7", "-S", "--nodelist=c2")
        assert (done.returncode, done.stdout) == (NO_BACKEND, b"")
        assert b"c2 has no Python" in done.stderr
        assert b"hpc@cluster.test" in done.stderr
        nothing_left(cluster, "alice", 5)

    def test_direct_mode_does_without_if_the_site_allows_it(self, cluster: Cluster) -> None:
        with proxy_settings(cluster, "version = 1\nallow_direct = true\n"):
            done = run(cluster, "echo out $HOME; exit 7", "-S", "--nodelist=c2")
        assert (done.returncode, done.stdout) == (7, b"out /home/alice\n"), done.stderr
        nothing_left(cluster, "alice", 5)
