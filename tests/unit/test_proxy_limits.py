"""Arguments of salloc as Slurm reads them, and against the limits of a site."""

from __future__ import annotations

import math

import pytest

from vscadmin.proxy.limits import Limits, excesses, parse_memory, parse_time
from vscadmin.proxy.slurm_args import check, in_force, read


def said(*arguments: str, **limits: object) -> list[str]:
    found = excesses(in_force(arguments), Limits(**limits))  # type: ignore[arg-type]
    return [f"{each.option.text}: {each.words}" for each in found]


@pytest.mark.parametrize(
    "arguments",
    [
        ["-p", "devel"],
        ["-pdevel"],
        ["-vpdevel"],
        ["-vHp", "devel"],
        ["--partition=devel"],
        ["--partition", "devel"],
        ["--part=devel"],
        ["-plong", "--partition=devel"],
        ["--x11", "-p", "devel"],
        ["--job-name", "--partition=other", "-p", "devel"],
    ],
)
def test_an_option_is_read_however_it_is_written(arguments: list[str]) -> None:
    assert in_force(arguments)["partition"].value == "devel"


def test_an_optional_value_stands_in_the_same_word() -> None:
    assert [each[:2] for each in read(["--x11", "--immediate=5", "-I5", "--exclusive"])] == [
        ("x11", ""), ("immediate", "5"), ("immediate", "5"), ("exclusive", ""),
    ]  # fmt: skip


def test_an_option_of_a_newer_slurm_is_taken_as_it_is() -> None:
    assert in_force(["--brand-new=3"])["brand-new"].value == "3"


@pytest.mark.parametrize("word", ["bash", ":", "--", "-", ""])
def test_what_salloc_would_run_instead_of_the_session_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="is no option of Slurm's"):
        check(["--time=1", word])


@pytest.mark.parametrize("word", ["--no-shell", "--pty", "-Z", "-oout", "--error=e", "-l", "-h"])
def test_what_no_session_can_run_with_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r"would|runs"):
        check([word])


@pytest.mark.parametrize("word", ["-Q", "--quiet", "--quie", "-vQ"])
def test_a_job_without_a_number_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=f"^{word}: would hide the job's number"):
        check([word])


@pytest.mark.parametrize(
    "word", ["-Mother", "--clusters=all", "--cluster=other", "--clusters other"]
)
def test_a_job_of_another_cluster_is_refused(word: str) -> None:
    """A number is of one cluster; on the local one it may be another job's."""
    with pytest.raises(ValueError, match=f"^{word}: would run the job on a cluster where"):
        check(word.split())


@pytest.mark.parametrize("word", ["--qui", "--usag", "--inpu=x", "--outp=x"])
def test_what_can_be_short_for_a_refused_option_is_refused(word: str) -> None:
    """To salloc, which has no --quit-on-interrupt, --qui is --quiet."""
    with pytest.raises(ValueError, match=f"^{word}: would"):
        check([word])


def test_options_that_begin_like_a_refused_one_are_none() -> None:
    check(["--cluster-constraint=big", "--quit-on-interrupt", "--no-bell", "-v"])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 1800), ("1:30", 90), ("2:00:00", 7200), ("1-0", 86400), ("1-2", 93600),
        ("1-2:30", 95400), ("1-0:0:5", 86405), ("0", math.inf), ("UNLIMITED", math.inf),
        ("infinite", math.inf), ("-1", math.inf),
    ],
)  # fmt: skip
def test_a_time_of_slurm_is_understood(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "2h", "1:2:3:4", "-", "1-", "1-2-3", "٣"])
def test_what_is_no_time_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="is no time"):
        parse_time(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("64", 64 << 20), ("4G", 4 << 30), ("4gb", 4 << 30), ("1T", 1 << 40), ("0", math.inf)],
)
def test_a_size_of_slurm_is_understood(text: str, size: float) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    ("arguments", "limits", "words"),
    [
        (["-t", "9:00:00"], {"time": 28800}, "-t 9:00:00: at most 8h"),
        (["--time=0"], {"time": 28800}, "--time=0: at most 8h"),
        (["--time=soon"], {"time": 28800}, "--time=soon: at most 8h"),
        (["-plong"], {"partitions": ("devel", "lon")}, '-plong: devel, lon; did you mean "lon"?'),
        (["-pdevel,gpu"], {"partitions": ("devel",)}, "-pdevel,gpu: devel"),
        (["-Abio"], {"accounts": ("chem",)}, "-Abio: chem"),
        (["-qhigh"], {"qos": ("normal",)}, "-qhigh: normal"),
        (["-N1-4"], {"nodes": 2}, "-N1-4: at most 2 nodes"),
        (["-c4", "-n8"], {"cpus": 16}, "-c4: at most 16 CPUs"),
        (["-N4", "--ntasks-per-node=8"], {"cpus": 16}, "--ntasks-per-node=8: at most 16 CPUs"),
        (["-G", "a100:4"], {"gpus": 2}, "-G a100:4: at most 2 GPUs"),
        (["--gres=gpu:a100:4,nvme:1"], {"gpus": 2}, "--gres=gpu:a100:4,nvme:1: at most 2 GPUs"),
        (["--gres=gpu", "-N3"], {"gpus": 2}, "--gres=gpu: at most 2 GPUs"),
        (["--gpus-per-node=2", "-N2"], {"gpus": 2}, "--gpus-per-node=2: at most 2 GPUs"),
        (["--mem=0"], {"memory": 1 << 30}, "--mem=0: at most 1GiB"),
        (["--mem-per-cpu=4G", "-c8"], {"memory": 16 << 30}, "--mem-per-cpu=4G: at most 16GiB"),
    ],
)
def test_what_is_over_a_limit_is_named(
    arguments: list[str], limits: dict[str, object], words: str
) -> None:
    assert said(*arguments, **limits) == [words]


def test_what_is_within_the_limits_passes() -> None:
    limits = Limits(
        time=28800, nodes=2, cpus=16, gpus=2, memory=64 << 30, partitions=("devel",),
        accounts=("a",), qos=("q",),
    )  # fmt: skip
    asked = ["-t8:00:00", "-N2", "-n4", "-c4", "--gres=gpu:1", "--mem=32G", "-pdevel", "-Aa", "-qq"]
    assert list(excesses(in_force(asked), limits)) == []


def test_what_is_not_asked_for_is_left_to_slurm() -> None:
    assert list(excesses({}, Limits(time=1, nodes=1, cpus=1, gpus=1, memory=1))) == []
