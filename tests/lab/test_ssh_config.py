"""From `vscadmin ssh-config` on a login node to a shell in a job, by the laptop's own ssh."""

from __future__ import annotations

import json
import subprocess
from typing import Final

import pytest

from tests.lab.cluster import Cluster
from tests.lab.editor import Editor
from tests.lab.remote_ssh.scripts import Layout
from tests.lab.topology import ROUND_ROBIN
from tests.run import eventually

CONFIG: Final = "/home/{user}/.ssh/config"
WHERE: Final = "hostname\n"


def take_over(cluster: Cluster, *options: str, user: str = "alice", host: str = "login1") -> str:
    """Do as the docs say: print the block over ssh, and put it into the laptop's configuration."""
    asked = ("vscadmin", "ssh-config", "--only", "block", *options)
    block = cluster.ssh(user, host, subprocess.list2cmdline(asked)).stdout
    cluster.laptop.write(CONFIG.format(user=user), block, user=user, mode=0o600)
    return block


def run(
    cluster: Cluster, alias: str, script: str = WHERE, *, user: str = "alice"
) -> subprocess.CompletedProcess[str]:
    return cluster.laptop.run("ssh", "-T", alias, user=user, input=script, check=False)


def jobs(cluster: Cluster, user: str) -> int:
    return len(cluster["ctl"].run("squeue", "-h", f"--user={user}").stdout.splitlines())


class TestTheBlock:
    def test_leads_into_a_job_and_brings_the_status_back(self, cluster: Cluster) -> None:
        take_over(cluster)
        done = run(cluster, "login1-job", "hostname; echo job $SLURM_JOB_ID; exit 7\n")
        assert done.returncode == 7, done.stderr
        assert done.stdout.startswith(("c1\njob ", "c2\njob "))

    def test_names_the_login_node_and_the_caller(self, cluster: Cluster) -> None:
        block = take_over(cluster)
        assert block.startswith("Host login1-job\n    HostName login1\n    User alice\n")

    def test_works_through_the_name_of_all_login_nodes(self, cluster: Cluster) -> None:
        take_over(cluster, "--host-name", ROUND_ROBIN, "--alias", "job")
        assert run(cluster, "job").stdout in ("c1\n", "c2\n")

    @pytest.mark.parametrize("user", ["alice", "dave", "erin"], ids=["bash", "tcsh", "fish"])
    def test_brings_odd_arguments_through_every_login_shell(
        self, cluster: Cluster, user: str
    ) -> None:
        comment = r"""50% of "it's" \n !x $HOME `id` *"""
        asked = ("ssh-config", "-S", f"--comment={comment}", "--alias", "job", "--only", "block")
        block = cluster["login1"].run("vscadmin", *asked, user=user).stdout
        cluster.laptop.write(CONFIG.format(user=user), block, user=user, mode=0o600)
        script = "squeue -h -o %k -j $SLURM_JOB_ID\n"
        assert run(cluster, "job", script, user=user).stdout == f"{comment}\n"

    def test_brings_the_laptops_screen_into_the_job(self, cluster: Cluster) -> None:
        take_over(cluster, "--x11", "--alias", "job")
        window = ("env", "DISPLAY=:0", "ssh", "-T", "job")
        script = "xdpyinfo | head -n 1\n"
        done = cluster.laptop.run(*window, user="alice", input=script, check=False)
        assert done.stdout.startswith("name of display:    localhost:"), done.stderr

    @pytest.mark.usefixtures("vscode_server_installed")
    def test_leads_an_editor_into_a_job(self, cluster: Cluster) -> None:
        """For a host with a RemoteCommand the editor names no command of its own."""
        take_over(cluster, "--alias", "job", "-S", "--nodelist=c1")
        connected = Editor(cluster, "alice", "job", Layout.EXEC, remote_command="")
        with connected as editor, editor.window():
            assert cluster["c1"].pids("server-main.js", user="alice")
            assert not cluster["login1"].pids("server-main.js", user="alice")
        eventually(lambda: jobs(cluster, "alice"), lambda count: count == 0, 10)


class TestTheWayThere:
    def test_leads_through_a_jump_host(self, cluster: Cluster) -> None:
        take_over(cluster, "--proxy-jump", "login1", "--host-name", "10.77.0.12", "--alias", "job")
        known = cluster.laptop.read("/etc/ssh/ssh_known_hosts").partition(" ")[2]
        cluster.laptop.write("/home/alice/.ssh/known_hosts", f"10.77.0.12 {known}", user="alice")
        assert run(cluster, "job", "echo $SLURM_SUBMIT_HOST\n").stdout == "login2\n"

    def test_forwards_a_port_to_what_the_login_node_reaches(self, cluster: Cluster) -> None:
        take_over(cluster, "--local-forward", "2222:localhost:22", "--alias", "job")
        with cluster.laptop.start("ssh", "-T", "job", user="alice") as session:
            try:
                eventually(
                    lambda: _banner(cluster), lambda seen: seen.startswith("SSH-2.0-OpenSSH")
                )
            finally:
                session.kill()

    def test_is_shared_by_windows_that_have_a_job_each(self, cluster: Cluster) -> None:
        """One login for both; the end of the first leaves the second alone."""
        take_over(cluster, "--control-master", "--alias", "job")
        window = ("ssh", "-T", "job")
        first = cluster.laptop.start(*window, user="alice")
        eventually(lambda: _is_shared(cluster), lambda is_shared: is_shared)
        with first, cluster.laptop.start(*window, user="alice") as second:
            eventually(lambda: jobs(cluster, "alice"), lambda count: count == 2)
            assert _connections(cluster) == 1
            first.kill()
            eventually(lambda: jobs(cluster, "alice"), lambda count: count == 1, 10)
            assert second.stdin is not None
            second.stdin.write(b"hostname; exit 3\n")
            second.stdin.close()
            assert second.wait(20) == 3
        cluster.laptop.run("ssh", "-O", "exit", "job", user="alice")


class TestTheSite:
    def test_an_unknown_profile_is_one_clear_line(self, cluster: Cluster) -> None:
        text = 'version = 1\n[profile.quick]\nsalloc_args = ["--time=5"]\n'
        cluster["login1"].write("/etc/vscadmin/proxy.toml", text)
        try:
            done = cluster.ssh("alice", "login1", "vscadmin ssh-config --profile quik", check=False)
            assert (done.returncode, done.stdout) == (2, "")
            assert 'did you mean "quick"' in done.stderr
            take_over(cluster, "--profile", "quick", "--alias", "job")
            script = "squeue -h -o %l -j $SLURM_JOB_ID\n"
            assert run(cluster, "job", script).stdout == "5:00\n"
        finally:
            cluster["login1"].run("rm", "/etc/vscadmin/proxy.toml")

    def test_the_settings_are_what_the_editor_reads(self, cluster: Cluster) -> None:
        printed = cluster.ssh("alice", "login1", "vscadmin ssh-config --only settings").stdout
        assert json.loads(printed)["remote.SSH.enableRemoteCommand"] is True


def _banner(cluster: Cluster) -> str:
    script = "exec 3<>/dev/tcp/127.0.0.1/2222 && timeout 2 head -n 1 <&3"
    return cluster.laptop.run("bash", "-c", script, check=False).stdout


def _is_shared(cluster: Cluster) -> bool:
    """Tell whether alice's ssh can use a connection that is there."""
    check = ("ssh", "-O", "check", "job")
    return cluster.laptop.run(*check, user="alice", check=False).returncode == 0


def _connections(cluster: Cluster) -> int:
    """Count the ssh connections from the laptop to login1."""
    found = cluster["login1"].run("ss", "-Htn", "state", "established", "sport = :22").stdout
    return len(found.splitlines())
