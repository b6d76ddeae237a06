"""The site plugins that come with vscadmin, as proxy.toml turns them on: real ssh, real Slurm.

What stands in for a site's own software: `workgroup`, which changes the group by sg, a set-uid
program that forks and waits; and `apptainer`, which Debian 12 does not package. The stand-in
enters the root of a sandbox image in namespaces of its own, as the real one does where it is not
set-uid, but reads no SIF file and has of the options only --bind and --env.
"""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest

from tests.lab import faults
from tests.lab.cluster import Cluster
from tests.lab.editor import Editor
from tests.lab.node import Node
from tests.lab.screen import windows
from tests.lab.session import COMMAND, Session
from tests.lab.site import proxy_settings
from tests.lab.traces import jobs, nothing_left, processes
from tests.run import eventually

NO_BACKEND = 69
NOT_PERMITTED = 77
CONFIG = 78
OF_SSH = 255  # what ssh says when it does not hear how the remote command ended
KILLED_SECONDS = 10.0

# The owner, and what pgrep finds it by.
PROXY = ("alice", "-f", "vscadmin.cli.shell_proxy")
WRAPPER = ("root", "-x", "sg")
SCREEN = {"DISPLAY": ":0"}
LOCAL = "/usr/local/bin/vscode-shell-proxy-local.py"
IMAGE = "/srv/images/devel"

WORKGROUPS = "physics:x:30001:alice,bob\noptics:x:30002:alice\n"
WORKGROUP = """#!/usr/bin/python3
import getpass, grp, os, shlex, sys

mine = [each for each in grp.getgrall() if each.gr_gid > 30000 and getpass.getuser() in each.gr_mem]
if sys.argv[1:] == ["-q", "workgroups"]:
    sys.exit(print(*(f"{each.gr_gid} {each.gr_name}" for each in mine)))
_, dash_g, name, dash_command, at, dashes, *command = sys.argv
if (dash_g, dash_command, at, dashes) != ("-g", "--command", "@", "--"):
    sys.exit("workgroup: usage")
if name not in [each.gr_name for each in mine]:
    sys.exit(f"workgroup: you are not in {name}")
os.execvp("sg", ["sg", name, "-c", "exec " + shlex.join(command)])
"""
APPTAINER = """#!/bin/sh
[ "$1" = exec ] || exit 64
shift
binds="/proc /sys /dev /tmp $HOME"
while :; do
  case $1 in --bind) binds="$binds $2" ;; --env) export "$2" ;; *) break ;; esac
  shift 2
done
[ -d "$1" ] || { echo "FATAL: could not open image $1: no such directory" >&2; exit 255; }
image=$1
shift
exec unshare --map-root-user --mount sh -c '
  mount --rbind "$1" /mnt
  for bind in $2; do
    IFS=: read -r from to how <<END
$bind
END
    mount --rbind "$from" "/mnt${to:-$from}" || exit 255
    [ -z "$how" ] || mount -o "remount,bind,$how" "/mnt${to:-$from}" || exit 255
  done
  uid=$3 gid=$4
  shift 4
  exec unshare --map-user="$uid" --map-group="$gid" --root=/mnt --wd="$PWD" "$@"
' sh "$image" "$binds" "$(id -u)" "$(id -g)" "$@"
"""
# An image has bash, two programs and what they need; no Python.
MAKE_IMAGE = """
mkdir -p "$1/home/alice" "$1/home/dave" && cd "$1"
mkdir proc sys dev tmp opt etc usr usr/bin usr/lib usr/lib64
ln -s usr/bin usr/lib usr/lib64 . && ln -s bash bin/sh
for each in bash cat ls; do cp "$(command -v $each)" bin && ldd "$(command -v $each)"; done |
  grep -o '/[^ ]*' | sort -u | while read -r library; do
    mkdir -p ".${library%/*}" && cp -L "$library" ".$library"
  done
cp /etc/passwd /etc/group /etc/hosts etc && echo devel >etc/image
"""


def plugins(*names: str, more: str = "") -> str:
    """Return a proxy.toml with the plugins *names*."""
    return f'version = 1\ncontact = "hpc@cluster.test"\nplugins = {list(names)}\n{more}'


def run(
    cluster: Cluster,
    script: str,
    *arguments: str,
    user: str = "alice",
    host: str = "login1",
    before: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run ``ssh HOST vscode-shell-proxy ARGUMENTS < script``; *before* precedes the command."""
    command = f"{before} {shlex.join([COMMAND, *arguments])}"
    return cluster.ssh(user, host, command, check=False, input=script)


def refused(
    cluster: Cluster, status: int, *words: str, arguments: tuple[str, ...] = (), user: str = "alice"
) -> None:
    """Assert that no job is made, but *status* and a line that holds all *words*."""
    done = run(cluster, "echo out", *arguments, user=user)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert [word for word in words if word not in line] == [], line
    assert jobs(cluster, user) == []


def kill(cluster: Cluster, what: tuple[str, ...], signum: int = signal.SIGKILL) -> None:
    """Signal what a session runs on login1."""
    node = cluster["login1"]
    faults.kill(node, *processes(node, *what), signum=signal.Signals(signum))


def job(cluster: Cluster, user: str = "alice") -> dict[str, str]:
    """Return what Slurm says of the one job of *user*."""
    (found,) = (line.split()[1] for line in jobs(cluster, user))
    shown = cluster["ctl"].run("scontrol", "--oneliner", "show", "job", found).stdout
    return dict(word.split("=", 1) for word in shown.split() if "=" in word)


@contextmanager
def installed(nodes: list[Node], path: str, content: str, mode: int = 0o755) -> Iterator[None]:
    """Give *nodes* a file of root's, and take it away again."""
    for node in nodes:
        node.write(path, content, mode=mode)
    try:
        yield
    finally:
        for node in nodes:
            node.run("rm", "-f", path)


@pytest.fixture
def cluster(cluster: Cluster) -> Iterator[Cluster]:
    """Lend the cluster to tests that leave nothing of a session behind."""
    yield cluster
    nothing_left(cluster, "alice", 5, files="")


@pytest.fixture(scope="module")
def with_workgroups(running_lab: Cluster) -> Iterator[None]:
    """Put alice into two workgroups and bob into one."""
    nodes = [node for node in running_lab.nodes.values() if "cluster" in node.spec.roles]
    before = {node.name: node.read("/etc/group") for node in nodes}
    with installed(running_lab.login_nodes, "/usr/local/bin/workgroup", WORKGROUP):
        for node in nodes:
            node.write("/etc/group", before[node.name] + WORKGROUPS)
        yield
        for node in nodes:
            node.write("/etc/group", before[node.name])


@pytest.mark.usefixtures("with_workgroups")
class TestWorkgroup:
    @pytest.mark.parametrize(
        ("arguments", "group"), [((), "physics"), (("-g", "optics"), "optics")]
    )
    def test_the_job_is_for_the_first_group_or_the_one_asked_for(
        self, cluster: Cluster, arguments: tuple[str, ...], group: str
    ) -> None:
        with (
            proxy_settings(cluster, plugins("workgroup")),
            Session(cluster, "alice", "login1", *arguments) as session,
        ):
            session.place()
            assert job(cluster)["GroupId"].partition("(")[0] == group
            session.send("srun id -gn </dev/null; id -Gn; exit 3\n")
            assert session.wait() == 3
            inner, groups = session.stdout.decode().splitlines()[1:]
            assert (inner, set(groups.split())) == (group, {"alice", "physics", "optics"})

    @pytest.mark.parametrize(
        ("what", "signum", "status"),
        [
            (PROXY, signal.SIGTERM, 128 + signal.SIGTERM),
            (PROXY, signal.SIGKILL, OF_SSH),
            (WRAPPER, signal.SIGKILL, NO_BACKEND),
        ],
    )
    def test_a_command_that_forks_hides_nothing_from_the_end(
        self, cluster: Cluster, what: tuple[str, ...], signum: signal.Signals, status: int
    ) -> None:
        with proxy_settings(cluster, plugins("workgroup")), Session(cluster, "alice") as session:
            place = session.place()
            session.send("setsid sleep 1000 &\n")
            eventually(lambda: processes(cluster[place.node], "alice", "-x", "sleep"), bool)
            kill(cluster, what, signum)
            nothing_left(cluster, "alice", KILLED_SECONDS, files="")
            assert session.wait() == status
            eventually(lambda: processes(cluster["login1"], *WRAPPER), lambda left: not left)

    def test_nor_while_the_job_waits(self, cluster: Cluster) -> None:
        with (
            proxy_settings(cluster, plugins("workgroup")),
            faults.closed(cluster),
            Session(cluster, "alice") as session,
        ):
            session.said("job [0-9]+ ")
            kill(cluster, PROXY)
            nothing_left(cluster, "alice", KILLED_SECONDS, files="")

    def test_who_is_in_no_workgroup_gets_no_job(self, cluster: Cluster) -> None:
        with proxy_settings(cluster, plugins("workgroup")):
            refused(cluster, NOT_PERMITTED, "member of no workgroup", user="carol")

    def test_a_group_of_others_is_refused_in_the_sites_own_words(self, cluster: Cluster) -> None:
        with proxy_settings(cluster, plugins("workgroup")):
            done = run(cluster, "echo out", "--group", "optics", user="bob")
        assert (done.returncode, done.stdout) == (NO_BACKEND, "")
        assert "workgroup: you are not in optics\n" in done.stderr
        assert "no job was started" in done.stderr


class TestSallocArgs:
    SETTINGS = plugins(
        "salloc_args",
        more="""[plugin.salloc_args]
            default = ["--partition=mixed", "--time=20"]
            forced = ["--cpus-per-task=2"]
            allowed = ["partition", "cpus-per-task"]
        """,
    )

    def test_the_users_win_over_the_defaults_and_lose_to_the_forced(self, cluster: Cluster) -> None:
        asked = ("-S", "--partition=devel", "-S", "--cpus-per-task=3")
        with (
            proxy_settings(cluster, self.SETTINGS),
            Session(cluster, "alice", "login1", *asked) as session,
        ):
            session.place()
            made = job(cluster)
            found = [made[each] for each in ("Partition", "TimeLimit", "CPUs/Task")]
            assert found == ["devel", "00:20:00", "2"]

    def test_others_are_refused_and_start_no_job(self, cluster: Cluster) -> None:
        with proxy_settings(cluster, self.SETTINGS):
            refused(
                *(cluster, NOT_PERMITTED, "-S --mem is not allowed here", "--cpus-per-task"),
                arguments=("-S", "--mem=1G"),
            )


def await_window(session: Session, name: str) -> None:
    """Wait for a window on the laptop; failing that, show what there is, and what stderr says."""
    eventually(
        lambda: windows(session.cluster, session.user) + session.stderr,
        lambda seen: f'"{name}"' in seen,
    )


class TestX11:
    SETTINGS = plugins("x11", more="[plugin.x11]\nalways = false\n")

    def test_a_window_of_the_job_is_on_the_laptops_screen(self, cluster: Cluster) -> None:
        with (
            proxy_settings(cluster, self.SETTINGS),
            Session(cluster, "alice", "login1", "--x11", ssh=("-X",), env=SCREEN) as session,
        ):
            session.place()
            session.send("xclock -name of-a-job &\n")
            await_window(session, "of-a-job")
            session.send("kill %1; exit 6\n")
            assert session.wait() == 6
            assert "X11" not in session.stderr

    def test_without_a_display_there_is_a_line_and_a_session(self, cluster: Cluster) -> None:
        with proxy_settings(cluster, plugins("srun_shell", "x11")):
            done = run(cluster, "echo ${DISPLAY-none}; exit 4", "--x11")
        assert (done.returncode, done.stdout) == (4, "none\n")
        (line,) = (each for each in done.stderr.splitlines() if "DISPLAY" in each)
        assert line.startswith(f"{COMMAND}: no X11 windows from this job: DISPLAY is not set")

    def test_who_insists_by_an_argument_of_salloc_hears_why_it_fails(
        self, cluster: Cluster
    ) -> None:
        """Slurm would say that it could not retrieve a magic cookie, and no more."""
        display = "DISPLAY=localhost:77"
        with proxy_settings(cluster, self.SETTINGS):
            done = run(cluster, "echo out", "-S", "--x11", before=f"env {display}")
        assert (done.returncode, done.stdout) == (NO_BACKEND, "")
        words = f"-S --x11 starts no job: xauth knows no cookie for {display}; --x11 without -S"
        assert words in done.stderr


class TestSrunShell:
    def test_srun_takes_the_place_of_salloc_and_a_plain_one_works_inside(
        self, cluster: Cluster
    ) -> None:
        settings = plugins(
            "srun_shell", more='[plugin.srun_shell]\narguments = ["--cpus-per-task=2"]\n'
        )
        with (
            proxy_settings(cluster, settings),
            Session(cluster, "alice", "login1", "-S", "--nodelist=c2") as session,
        ):
            assert session.place().node == "c2"
            assert job(cluster)["CPUs/Task"] == "2"
            assert not processes(cluster["login1"], "alice", "-x", "salloc")
            session.send(
                "srun hostname </dev/null; srun printenv SLURM_STEP_ID </dev/null; exit 5\n"
            )
            assert session.wait() == 5
            assert session.stdout.decode().splitlines()[1:] == ["c2", "2"]

    def test_its_job_ends_with_a_killed_proxy(self, cluster: Cluster) -> None:
        with proxy_settings(cluster, plugins("srun_shell")), Session(cluster, "alice") as session:
            session.place()
            kill(cluster, PROXY)
            nothing_left(cluster, "alice", KILLED_SECONDS, files="")


class TestCustomGlibc:
    def test_the_servers_variables_are_in_the_job(self, cluster: Cluster) -> None:
        settings = plugins(
            *("srun_shell", "custom_glibc"),
            more="""[plugin.custom_glibc]
                path = "/opt/glibc/lib:/opt/gcc/lib64"
                linker = "/opt/glibc/lib/ld-linux-x86-64.so.2"
                patchelf = "/opt/patchelf/bin/patchelf"
            """,
        )
        with proxy_settings(cluster, settings):
            done = run(cluster, "env | grep ^VSCODE_ | sort")
        assert done.stdout.splitlines() == [
            "VSCODE_SERVER_CUSTOM_GLIBC_LINKER=/opt/glibc/lib/ld-linux-x86-64.so.2",
            "VSCODE_SERVER_CUSTOM_GLIBC_PATH=/opt/glibc/lib:/opt/gcc/lib64",
            "VSCODE_SERVER_PATCHELF_PATH=/opt/patchelf/bin/patchelf",
        ]


@contextmanager
def ssh_agent(cluster: Cluster, user: str = "alice") -> Iterator[dict[str, str]]:
    """Run an ssh agent with the user's key on the laptop; yield the variable that names it."""
    name = f"SSH_AUTH_SOCK=/tmp/{user}.agent"
    laptop = cluster.laptop
    with laptop.start("ssh-agent", "-D", "-a", name.partition("=")[2], user=user) as agent:
        try:
            eventually(
                lambda: laptop.run("env", name, "ssh-add", user=user, check=False).returncode,
                lambda status: status == 0,
            )
            yield dict([name.split("=", 1)])
        finally:
            agent.terminate()


def keys(cluster: Cluster) -> str:
    """Return the line that `ssh-add -l` prints of alice's key."""
    return cluster.laptop.run("ssh-keygen", "-lf", ".ssh/id_ed25519.pub", user="alice").stdout


class TestAgentForwarding:
    def test_the_laptops_keys_are_of_use_in_the_job_and_to_nobody_else(
        self, cluster: Cluster
    ) -> None:
        """From the compute node alice can log in by no other key."""
        hop = "ssh -o BatchMode=yes -o StrictHostKeyChecking=no login2 hostname </dev/null"
        with (
            proxy_settings(cluster, plugins("agent_forwarding")),
            ssh_agent(cluster) as agent,
            Session(cluster, "alice", ssh=("-A",), env=agent) as session,
        ):
            node = cluster[session.place().node]
            session.send(f'ssh-add -l; {hop}; echo "socket $SSH_AUTH_SOCK"\n')
            socket = session.expect(rb"socket (\S+)\n")[1].decode()
            assert session.stdout.decode().endswith(f"{keys(cluster)}login2\nsocket {socket}\n")
            ask = ("env", f"SSH_AUTH_SOCK={socket}", "ssh-add", "-l")
            assert node.run(*ask, user="alice").stdout == keys(cluster)
            done = node.run(*ask, user="bob", check=False)
            assert (done.returncode, done.stdout) == (2, "")
            assert "Permission denied" in done.stderr
        nothing_left(cluster, "alice", 5)

    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            ([], "no ssh agent in this job: SSH_AUTH_SOCK=/tmp/gone: No such file or directory"),
            (["--no-agent"], ""),
        ],
    )
    def test_one_that_is_gone_or_not_wanted_is_not_in_the_job(
        self, cluster: Cluster, arguments: list[str], line: str
    ) -> None:
        with proxy_settings(cluster, plugins("srun_shell", "agent_forwarding")):
            done = run(
                cluster,
                "echo ${SSH_AUTH_SOCK-none}",
                *arguments,
                before="env SSH_AUTH_SOCK=/tmp/gone",
            )
        assert (done.returncode, done.stdout) == (0, "none\n")
        assert [each for each in done.stderr.splitlines() if "agent" in each] == (
            [f"{COMMAND}: {line}"] if line else []
        )

    def test_direct_mode_keeps_it_outside_and_says_so(self, cluster: Cluster) -> None:
        """A socket that nobody answers at would hold up every git."""
        with (
            proxy_settings(cluster, plugins("srun_shell", "agent_forwarding")),
            ssh_agent(cluster) as agent,
            Session(
                *(cluster, "alice", "login1", "--mode", "direct"), ssh=("-A",), env=agent
            ) as session,
        ):
            session.send("echo ${SSH_AUTH_SOCK-none}\n")
            session.expect(b"^none\n")
            assert session.said("SSH_AUTH_SOCK is not set in the job: direct mode", 0)


@contextmanager
def without_python(node: Node) -> Iterator[None]:
    """Let no Python start on *node*."""
    each = 'for python in /usr/bin/python3 /usr/local/bin/python3; do [ ! -e "$python" ] ||'
    node.run("sh", "-c", f'{each} mount --bind /dev/null "$python"; done')
    try:
        yield
    finally:
        node.run("sh", "-c", f'{each} umount "$python"; done')


@pytest.fixture(scope="module")
def with_images(running_lab: Cluster) -> Iterator[None]:
    """Give c1 an image, and what runs it."""
    node = running_lab["c1"]
    with installed([node], "/usr/local/bin/apptainer", APPTAINER):
        node.run("sh", "-ec", MAKE_IMAGE, "sh", IMAGE)
        yield
        node.run("rm", "-rf", IMAGE)


@pytest.mark.usefixtures("with_images")
class TestApptainer:
    SETTINGS = """salloc_args = ["--nodelist=c1"]
        [plugin.apptainer]
        allowed = ["/srv/images/*"]
    """

    def test_the_shell_is_in_an_image_that_needs_no_python(self, cluster: Cluster) -> None:
        more = self.SETTINGS + 'image = "/srv/images/devel"\narguments = ["--env", "IN=image"]'
        with proxy_settings(cluster, plugins("srun_shell", "apptainer", more=more)):
            done = run(cluster, "cat /etc/image; ls /usr/bin; echo $IN $HOME $SLURM_JOB_ID; exit 3")
        lines = done.stdout.splitlines()
        assert lines[:-1] == ["devel", "bash", "cat", "ls", "sh"], done.stderr
        assert lines[-1].startswith("image /home/alice ")
        assert done.returncode == 3

    def test_it_is_there_too_where_the_node_has_no_python(self, cluster: Cluster) -> None:
        """Dave's login shell is tcsh, which would close what the client's stdin comes by."""
        more = "allow_direct = true\n" + self.SETTINGS + 'image = "/srv/images/devel"\n'
        with (
            proxy_settings(cluster, plugins("srun_shell", "apptainer", more=more)),
            without_python(cluster["c1"]),
        ):
            done = run(cluster, "cat /etc/image; echo $PWD; exit 3", user="dave")
        assert (done.returncode, done.stdout) == (3, "devel\n/home/dave\n"), done.stderr
        assert "the profile of /bin/tcsh is not run" in done.stderr

    def test_the_editor_is_in_the_image_too(
        self, cluster: Cluster, vscode_server_installed: None
    ) -> None:
        """With the node's programs in it, for the server wants more than this image has."""
        more = self.SETTINGS + 'binds = ["/usr:/usr:ro", "/opt"]'
        command = shlex.join([COMMAND, "--image", IMAGE])
        with (
            proxy_settings(cluster, plugins("apptainer", more=more)),
            Editor(cluster, "alice", "login1", remote_command=command) as editor,
            editor.window("--read", "/etc/image") as window,
        ):
            assert window.process.stdout is not None
            assert window.process.stdout.readline().startswith(b"read 6 ")

    def test_an_image_that_the_site_does_not_allow_starts_no_job(self, cluster: Cluster) -> None:
        with proxy_settings(cluster, plugins("apptainer", more=self.SETTINGS)):
            refused(
                *(cluster, NOT_PERMITTED, "--image /home/alice", "allowed are /srv/images/*"),
                arguments=("--image", "/srv/images/../../home/alice"),
            )


@pytest.mark.usefixtures("with_workgroups", "with_images")
def test_plugins_work_together(cluster: Cluster) -> None:
    names = ("workgroup", "salloc_args", "x11", "agent_forwarding", "apptainer")
    more = """[plugin.salloc_args]
        default = ["--nodelist=c1"]
        forced = ["--cpus-per-task=2"]
        [plugin.apptainer]
        image = "/srv/images/devel"
        binds = ["/usr:/usr:ro"]
    """
    with (
        proxy_settings(cluster, plugins(*names, more=more)),
        ssh_agent(cluster) as agent,
        Session(
            *(cluster, "alice", "login1", "-g", "optics"), ssh=("-X", "-A"), env=SCREEN | agent
        ) as session,
    ):
        session.send("id -gn; ssh-add -l; cat /etc/image; xclock -name of-all &\n")
        session.expect(re.escape(f"optics\n{keys(cluster)}devel\n".encode()))
        await_window(session, "of-all")
        made = job(cluster)
        assert made["GroupId"].startswith("optics(")
        assert (made["NodeList"], made["CPUs/Task"]) == ("c1", "2")
        session.kill()
        nothing_left(cluster, "alice", KILLED_SECONDS)


YOURS = "no session can start: please tell your administrators"
HOOK = """from vscadmin.sites import hookimpl

@hookimpl
def job_environment(request):
    return {"FROM": request.login_node}
"""


class TestFileBesideTheCommand:
    def test_it_is_used_on_every_login_node_and_one_in_a_home_is_not(
        self, cluster: Cluster
    ) -> None:
        cluster["login1"].write("/home/alice/vscode-shell-proxy-local.py", "1 / 0", user="alice")
        ask = partial(run, cluster, "echo $FROM")
        with installed(cluster.login_nodes, LOCAL, HOOK, 0o644), ThreadPoolExecutor(2) as pool:
            asked = [("alice", "login1"), ("bob", "login2")]
            done = list(pool.map(lambda each: ask(user=each[0], host=each[1]), asked))
        assert [each.stdout for each in done] == ["login1\n", "login2\n"], done

    def test_a_users_is_refused(self, cluster: Cluster) -> None:
        with installed(cluster.login_nodes, LOCAL, HOOK, 0o644):
            cluster["login1"].run("chown", "alice:", LOCAL)
            refused(cluster, CONFIG, LOCAL, "belongs to uid 20001, not to root", YOURS)


class TestBrokenConfiguration:
    @pytest.mark.parametrize(
        ("settings", "problem"),
        [
            (plugins("x11") + "[limits\n", "line 4"),
            (plugins("work_group"), 'did you mean "workgroup"?'),
            (plugins("custom_glibc"), "plugin.custom_glibc.path"),
            (plugins("workgroup", more='[plugin.workgroup]\ncommand = "/no"\n'), "/no"),
        ],
    )
    def test_it_is_one_line_and_no_job(self, cluster: Cluster, settings: str, problem: str) -> None:
        with proxy_settings(cluster, settings):
            refused(cluster, CONFIG, problem, "please tell hpc@cluster.test")

    def test_doctor_and_sessions_name_a_plugin_that_anybody_can_write(
        self, cluster: Cluster
    ) -> None:
        path = "/etc/vscadmin/site-plugins/ours.py"
        with (
            proxy_settings(cluster, plugins("ours")),
            installed(cluster.login_nodes, path, HOOK, 0o666),
        ):
            refused(cluster, CONFIG, f"{path}: its group or others can write it")
            found = cluster["login1"].run("vscadmin", "doctor", check=False)
        assert f"{path}: its group or others can write it" in found.stdout
        assert found.returncode == CONFIG
