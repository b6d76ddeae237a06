"""The scheduler behind its interface: what squeue and pyslurm print, and what they fail with."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from pathlib import Path

import pytest

from tests.jobs import job
from vscadmin.errors import Exit
from vscadmin.slurm.bindings import PySlurm
from vscadmin.slurm.fields import duration, moment
from vscadmin.slurm.installed import FirstOf, scheduler
from vscadmin.slurm.job import Job
from vscadmin.slurm.listing import listing_format, parse_listing
from vscadmin.slurm.scheduler import SchedulerError
from vscadmin.slurm.squeue import Squeue

MARK = "0123456789abcdef"
JOB = job()
FIELDS = (
    *("12", "alice", "20001", "RUNNING", "None", "devel", "c1", "2:00:00"),
    *("1795276800", "1795276801", "1795284001", JOB.name, JOB.comment),
)


def listed(*fields: str) -> bytes:
    return f"{f'|{MARK}|'.join(fields)}|{MARK}.\n".encode()


def parsed(output: bytes) -> list[Job]:
    return list(parse_listing(output, MARK))


class TestFields:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("0:30", 30),
            ("10:00", 600),
            ("2:00:00", 7200),
            ("1-00:00:00", 86400),
            ("14-23:59:59", 1_295_999),
            ("UNLIMITED", None),
            ("NOT_SET", None),
            ("INVALID", None),
            ("", None),
            ("5", None),
            ("1:2:3:4", None),
            ("-1:00", None),
            ("x-1:00", None),
            ("\u0661:00", None),
        ],
    )
    def test_a_duration_as_slurm_writes_it(self, text: str, seconds: int | None) -> None:
        assert duration(text) == seconds

    @pytest.mark.parametrize("text", ["N/A", "Unknown", "", "-1", "1.5", "9" * 40, "\u0661"])
    def test_no_time_is_none(self, text: str) -> None:
        assert moment(text) is None


class TestTheListing:
    def test_a_job_is_read(self) -> None:
        assert parsed(listed(*FIELDS)) == [JOB]
        assert listing_format(MARK).count(f"|{MARK}|") == len(FIELDS) - 1

    def test_what_is_not_there_is_none(self) -> None:
        fields = (*FIELDS[:6], "", "UNLIMITED", FIELDS[8], "N/A", "N/A", "x", "(null)")
        (job,) = parsed(listed(*fields))
        assert (job.node, job.time_limit, job.start, job.end, job.comment) == ("",) + (
            None,
        ) * 3 + ("",)

    def test_names_may_hold_anything(self) -> None:
        evil = f"a\n13|root|{MARK[:-1]}|\x1f\x1b[2J%i"
        (job,) = parsed(listed(*FIELDS[:-2], evil, "b\n"))
        assert (job.name, job.comment) == (evil, "b\n")

    def test_a_byte_that_is_no_utf_8_is_shown(self) -> None:
        output = listed(*FIELDS[:-2], "NAME", "x").replace(b"NAME", b"\xff\xfe")
        assert parsed(output)[0].name == "\\xff\\xfe"

    @pytest.mark.parametrize("number", ["12+0", "12_[1-9%2]", "12_7"])
    def test_components_and_tasks_have_the_number_of_their_job(self, number: str) -> None:
        assert parsed(listed(number, *FIELDS[1:]))[0].id == 12

    @pytest.mark.parametrize(
        "output",
        [
            listed(*FIELDS)[:-1],
            listed(*FIELDS)[:-30],
            listed(*FIELDS[:-1]),
            listed(*FIELDS, "more"),
            listed("x", *FIELDS[1:]),
            b"slurm_load_jobs error\n",
        ],
    )
    def test_a_listing_that_is_cut_is_refused(self, output: bytes) -> None:
        with pytest.raises(ValueError, match=r"squeue printed|invalid literal"):
            parsed(output)


class TestTimeLeft:
    def test_it_is_until_the_end(self) -> None:
        assert JOB.end is not None
        assert JOB.time_left(JOB.end - 60) == 60
        assert JOB.time_left(JOB.end + 60) == 0

    def test_a_job_that_waits_has_none(self) -> None:
        """Its end is an estimate."""
        fields = (*FIELDS[:3], "PENDING", *FIELDS[4:])
        assert parsed(listed(*fields))[0].time_left(0) is None


@pytest.fixture
def bin_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory that is searched for squeue, and where nothing else is."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def put(bin_dir: Path, script: str) -> None:
    (bin_dir / "squeue").write_text(f"#!/bin/sh\n{script}\n")
    (bin_dir / "squeue").chmod(0o755)


class TestSqueue:
    def test_it_is_asked_by_its_environment_and_not_by_the_users(
        self, bin_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SQUEUE_STATES", "COMPLETED")
        monkeypatch.setenv("SQUEUE_FORMAT2", "jobid")
        put(
            bin_dir,
            "echo $# $1 $2 $3 $SQUEUE_STATES $SQUEUE_FORMAT2 $SLURM_TIME_FORMAT >&2; exit 1",
        )
        with pytest.raises(SchedulerError, match=r"squeue: 3 --noheader --all --user=7 %s$"):
            Squeue().jobs(7)

    def test_it_is_asked_about_the_cluster_on_which_sessions_are(
        self, bin_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It would take SLURM_CLUSTERS for -M."""
        monkeypatch.setenv("SLURM_CLUSTERS", "elsewhere")
        monkeypatch.setenv("SLURM_CONF", "/etc/here")
        put(bin_dir, "echo ${SLURM_CLUSTERS-none} $SLURM_CONF >&2; exit 1")
        with pytest.raises(SchedulerError, match=r"squeue: none /etc/here$"):
            Squeue().jobs()

    def test_the_format_reaches_it(self, bin_dir: Path) -> None:
        """What the format names is echoed here, where squeue fills it in."""
        put(bin_dir, 'printf "%s\\n" "$SQUEUE_FORMAT"')
        with pytest.raises(SchedulerError, match=r"invalid literal for int.*'%i'"):
            Squeue().jobs()

    def test_one_that_is_missing_is_named(self, bin_dir: Path) -> None:
        with pytest.raises(SchedulerError, match=r"^squeue: No such file or directory$") as failed:
            Squeue().jobs()
        assert failed.value.exit_code == Exit.INCOMPLETE

    def test_what_it_fails_with_is_one_line(self, bin_dir: Path) -> None:
        put(bin_dir, "printf 'one\\nsqueue: error: \\033[2J two\\n' >&2; exit 1")
        with pytest.raises(SchedulerError, match=r"^squeue: error: \\x1b\[2J two$"):
            Squeue().jobs()

    def test_a_silent_failure_has_its_exit_status(self, bin_dir: Path) -> None:
        put(bin_dir, "exit 3")
        with pytest.raises(SchedulerError, match=r"^squeue: exit 3$"):
            Squeue().jobs()

    def test_one_that_hangs_is_given_up(self, bin_dir: Path) -> None:
        put(bin_dir, "exec /bin/sleep 1000")
        with pytest.raises(SchedulerError, match="no answer from Slurm in 0 s"):
            Squeue(patience=0.2).jobs()


ROW = [
    *(12, "alice", 20001, JOB.name, JOB.comment, "RUNNING", "None", "devel", "c1", 120),
    *(JOB.submit, JOB.start, JOB.end),
]


def library(tmp_path: Path, source: str) -> tuple[str, ...]:
    """Return what lists jobs with a pyslurm of *source*: the real one needs a Slurm of its age."""
    (tmp_path / "pyslurm.py").write_text(textwrap.dedent(source))
    run = "import sys, runpy; sys.path.insert(0, sys.argv[1]); sys.argv[1:] = []; "
    run += "runpy.run_module('vscadmin.slurm.load_jobs', run_name='__main__')"
    return (sys.executable, "-I", "-c", run, str(tmp_path))


STAND_IN = """
    from types import SimpleNamespace
    class Jobs(dict):
        @classmethod
        def load(cls):
            known = dict(
                id=12, user_name="alice", user_id=20001, name="vscode-shell-proxy",
                comment="vscode-shell-proxy 0123abcd login1:77", state="RUNNING",
                state_reason="None", partition="devel", allocated_nodes="c1", time_limit=120,
                submit_time=1795276800, start_time=1795276801, end_time=1795284001,
            )
            waits = dict(state="PENDING", allocated_nodes=None, time_limit="UNLIMITED",
                         start_time=None, end_time=None, comment=None, id=13, user_id=7)
            over = dict(state="COMPLETED", id=14)
            rows = (known, {**known, **waits}, {**known, **over})
            return cls({row["id"]: SimpleNamespace(**row) for row in rows})
"""


class TestPySlurm:
    def test_what_the_library_knows_are_the_jobs(self, tmp_path: Path) -> None:
        jobs = PySlurm(command=library(tmp_path, STAND_IN)).jobs()
        assert jobs[0] == JOB
        assert [each.id for each in jobs] == [12, 13]
        waits = jobs[1]
        assert (waits.node, waits.time_limit, waits.start, waits.comment) == ("", None, None, "")

    def test_only_one_users_are_wanted(self, tmp_path: Path) -> None:
        jobs = PySlurm(command=library(tmp_path, STAND_IN)).jobs(20001)
        assert [each.id for each in jobs] == [12]

    @pytest.mark.parametrize(
        "source",
        [
            "import os; os._exit(1)",
            "raise ImportError",
            "class Jobs:\n    def load(): raise RuntimeError",
            "import time; time.sleep(1000)",
            "print('[[1]]'); import os; os._exit(0)",
            "print('{'); import sys; sys.exit(0)",
            "print('[1]', flush=True); import os; os._exit(0)",
        ],
    )
    def test_whatever_it_fails_with_is_an_expected_failure(
        self, tmp_path: Path, source: str
    ) -> None:
        patience = 0.5 if "sleep" in source else 20
        with pytest.raises(SchedulerError):
            PySlurm(patience, library(tmp_path, source)).jobs()

    def test_squeue_is_asked_where_it_fails(self, tmp_path: Path) -> None:
        class Other:
            def jobs(self, uid: int | None = None) -> tuple[Job, ...]:
                return (JOB,) if uid == 20001 else ()

        broken = PySlurm(command=library(tmp_path, "raise ImportError"))
        assert FirstOf(broken, Other()).jobs(20001) == (JOB,)
        works = PySlurm(command=library(tmp_path, STAND_IN))
        assert len(FirstOf(works, Other()).jobs(None)) == 2

    def test_it_is_chosen_where_it_is_installed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And not imported for that: it may end the interpreter."""
        (tmp_path / "pyslurm.py").write_text("import os; os._exit(1)")
        monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(tmp_path)])
        assert isinstance(scheduler(), Squeue)
        monkeypatch.syspath_prepend(str(tmp_path))
        assert isinstance(scheduler(), FirstOf)
        assert "pyslurm" not in sys.modules


def test_rows_are_read_as_they_are_written() -> None:
    code = f"print({json.dumps(json.dumps([ROW]))})"
    assert PySlurm(command=(sys.executable, "-c", code)).jobs() == (JOB,)
    assert os.environ["PATH"]
