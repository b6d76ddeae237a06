"""The files of /proc/PID as the kernel prints them, hostile names included."""

from __future__ import annotations

import pytest

from vscadmin.model import Place, Uids
from vscadmin.procs import stat

FIELDS = b"S 27830 4100 4099 34819 4100 4194304 1 2 3 4 150 50 5 6 20 0 11 0 8742310 1000 250 18446"


def line(name: bytes) -> bytes:
    return b"4101 (" + name + b") " + FIELDS


@pytest.mark.parametrize(
    "name",
    [b"node", b"MainThread", b"a) R 1 (b", b"two\nlines", b"\x1b[2J", b")", b"", b"\xff) Z 1 "],
)
def test_fields_are_counted_from_the_last_parenthesis(name: bytes) -> None:
    """A naive split of such a name once gave ppid 1 instead of 27830."""
    process = stat.parse_process(line(name), b"", 1001, 4096)
    assert process.key == (4101, 8742310)
    assert process[2:10] == (27830, 4100, 4099, 34819, "S", 200, 250 * 4096, 1001)


def test_a_cut_line_is_refused() -> None:
    with pytest.raises(ValueError, match="22 wanted"):
        stat.parse_process(b"4101 (node) S 1 2", b"", 1001, 4096)


@pytest.mark.parametrize(
    ("data", "argv"),
    [
        (b"", ()),
        (b"sh\0", (b"sh",)),
        (b"sh\0\0x\0", (b"sh", b"", b"x")),
        (b"\0", (b"",)),
        (b"a title set by the process", (b"a title set by the process",)),
        (b"caf\xe9\0\xff\0", (b"caf\xe9", b"\xff")),
    ],
)
def test_an_argv_is_split_at_its_nuls(data: bytes, argv: tuple[bytes, ...]) -> None:
    assert stat.parse_cmdline(data) == argv


def test_a_command_line_is_read_to_a_limit() -> None:
    process = stat.parse_process(line(b"x"), b"y" * 9000, 1001, 4096)
    assert process.argv == (b"y" * stat.CMDLINE_LIMIT,)


STATUS = (
    b"Name:\tno\\nUid:\\t0\nUmask:\t0022\nUid:\t1001\t1002\t1003\t1004\n"
    b"Gid:\t1 2 3 4\nNSpid:\t77\t5\nX:\t1\n"
)


def test_a_status_has_four_uids_and_the_depth_of_namespaces() -> None:
    assert stat.parse_status(STATUS) == (Uids(1001, 1002, 1003, 1004), 2)


def test_an_old_kernel_names_no_namespaces() -> None:
    assert stat.parse_status(b"Name:\tx\nUid:\t1 1 1 1\n").pid_levels is None


def test_a_status_without_uids_is_refused() -> None:
    with pytest.raises(ValueError, match="no Uid line"):
        stat.parse_status(b"Name:\tx\n")


def placed(*lines: str, ours: tuple[str, ...] = ("/",)) -> tuple[Place, str]:
    return stat.place(stat.parse_cgroups("\n".join(lines).encode()), ours)


@pytest.mark.parametrize(
    "path",
    [
        "0::/system.slice/slurmstepd.scope/job_4711/step_0/user/task_0",
        "0::/system.slice/slurmstepd.scope/job_4711/step_extern/user/task_special",
        "0::/system.slice/login1_slurmstepd.scope/job_4711/step_batch/slurm",
        "9:memory:/slurm/uid_1001/job_4711/step_0/task_0",
        "4:cpuset:/slurm_node17/uid_1001/job_4711/step_extern",
        "0::/../../system.slice/slurmstepd.scope/job_4711/step_interactive",
    ],
)
def test_a_process_in_a_slurm_job_is_told_by_its_cgroup(path: str) -> None:
    assert placed(path, "1:name=systemd:/user.slice") == (Place.JOB, "Slurm job 4711")


@pytest.mark.parametrize(
    "path",
    [
        "0::/user.slice/user-1001.slice/session-42.scope",
        "1:name=systemd:/user.slice/user-1001.slice/user@1001.service/app.slice/code.service",
        "0::/user.slice/user-1001.slice/user@1001.service/job_4711",
        "0::/user.slice/user-1001.slice/user@1001.service/uid_1001/job_4711",
        "0::/system.slice/slurmd.service",
        "0::/system.slice/slurmstepd.scope/job_x",
        "0::/",
        "no cgroup line",
    ],
)
def test_logins_services_and_lookalikes_are_here(path: str) -> None:
    assert placed(path)[0] is Place.HERE


@pytest.mark.parametrize(
    "path",
    [
        f"0::/system.slice/docker-{'0a' * 32}.scope",
        f"9:memory:/docker/{'0a' * 32}",
        "0::/user.slice/user-1001.slice/user@1001.service/user.slice/libpod-0a.scope/container",
        "0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-0a.scope",
        "0::/machine.slice/machine-a.scope",
    ],
)
def test_a_process_in_a_container_is_told_by_its_cgroup(path: str) -> None:
    assert placed(path)[0] is Place.CONTAINER
    inside = stat.parse_cgroups(path.encode())
    assert placed(path, ours=inside)[0] is Place.HERE, "our own container is our node"
