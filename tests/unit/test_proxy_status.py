"""Status files: what a session writes of itself, and what is believed of what users write."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from vscadmin.proxy import status as status_module
from vscadmin.proxy.status import StatusFile, directory, start_ticks
from vscadmin.proxy.statuses import LONGEST, Status, statuses

UID = os.getuid()
SESSION = "0123abcd"
FIELDS: dict[str, int | str] = {
    "job": 12,
    "node": "c1",
    "started": 1_795_276_800,
    "bytes": 7 << 40,
    "connections": 3,
    "last_byte": 1_795_276_900,
}


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / f"proxy-{UID}")


def seen(place: str, uid: int | None = UID) -> list[Status]:
    return statuses(uid, (f"{os.path.dirname(place)}/proxy-{{uid}}",))


def wrote(place: str) -> str:
    """Write a status file, and return its path."""
    assert StatusFile(place, SESSION).write(FIELDS)
    return os.path.join(place, f"{os.getpid()}-{start_ticks(os.getpid())}")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


class TestWriting:
    def test_what_is_written_is_read(self, place: str) -> None:
        wrote(place)
        (found,) = seen(place)
        assert found == Status(
            uid=UID,
            session=SESSION,
            pid=os.getpid(),
            start_ticks=start_ticks(os.getpid()),
            job=12,
            node="c1",
            started=1_795_276_800,
            carried=7 << 40,
            connections=3,
            last_byte=1_795_276_900,
        )

    def test_it_is_the_users_alone(self, place: str) -> None:
        path = wrote(place)
        assert os.stat(place).st_mode & 0o777 == 0o700
        assert os.stat(path).st_mode & 0o777 == 0o600

    def test_a_file_is_replaced_whole(self, place: str) -> None:
        file = StatusFile(place, SESSION)
        file.write(FIELDS)
        with open(os.path.join(place, os.listdir(place)[0]), "rb") as before:
            file.write({**FIELDS, "bytes": 6})
            assert json.load(before)["bytes"] == 7 << 40
        assert [each.carried for each in seen(place)] == [6]
        assert len(os.listdir(place)) == 1

    def test_nothing_in_a_name_breaks_the_file(self, place: str) -> None:
        StatusFile(place, SESSION).write({**FIELDS, "node": 'c"1\\\n\u202e', "started": 1})
        (name,) = os.listdir(place)
        assert json.loads(Path(place, name).read_bytes())["node"] == "c?1???"

    def test_nothing_is_left(self, place: str) -> None:
        file = StatusFile(place, SESSION)
        file.write(FIELDS)
        file.remove()
        assert not os.path.exists(place)
        file.remove()

    def test_the_directory_stays_for_other_sessions(self, place: str) -> None:
        file = StatusFile(place, SESSION)
        file.write(FIELDS)
        other = Path(place, f"1-{start_ticks(1)}")
        other.touch()
        file.remove()
        assert os.listdir(place) == [other.name]

    def test_a_directory_that_was_cleaned_away_is_made_again(self, place: str) -> None:
        file = StatusFile(place, SESSION)
        file.write(FIELDS)
        os.unlink(os.path.join(place, os.listdir(place)[0]))
        os.rmdir(place)
        assert file.write(FIELDS)
        assert len(seen(place)) == 1

    def test_what_killed_sessions_left_is_swept(
        self, place: str, sleeper: subprocess.Popen[bytes]
    ) -> None:
        os.mkdir(place, 0o700)
        live = f"{sleeper.pid}-{start_ticks(sleeper.pid)}"
        for name in (live, f"{sleeper.pid}-1", f".{os.getpid()}-2", "4194304999-3", "notes.txt"):
            Path(place, name).touch()
        file = StatusFile(place, SESSION)
        assert file.write(FIELDS)
        own = f"{os.getpid()}-{start_ticks(os.getpid())}"
        assert set(os.listdir(place)) == {live, "notes.txt", own}

    @pytest.mark.parametrize("kind", ["link", "file", "open to others"])
    def test_a_place_that_is_not_ours_alone_is_not_used(self, place: str, kind: str) -> None:
        """In /tmp anybody can be there before us."""
        victim = Path(place).with_name("victim")
        victim.mkdir(mode=0o700)
        if kind == "link":
            os.symlink(victim, place)
        elif kind == "file":
            Path(place).touch()
        else:
            os.mkdir(place)
            os.chmod(place, 0o710)  # noqa: S103
        assert StatusFile(place, SESSION).write(FIELDS) is False
        assert not os.listdir(victim)
        assert seen(place) == []

    @pytest.mark.skipif(UID != 0, reason="only root can give a directory away")
    def test_a_place_of_another_user_is_not_used(self, place: str) -> None:
        os.mkdir(place, 0o700)
        os.chown(place, 61_234, 61_234)
        assert StatusFile(place, SESSION).write(FIELDS) is False

    def test_a_full_disk_is_no_matter(self, place: str) -> None:
        """The limit on a file's size says no as a full disk would, also to root."""
        code = (
            "import resource, signal, sys; from vscadmin.proxy.status import StatusFile;"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0));"
            "print(StatusFile(sys.argv[1], '0123abcd').write({'started': 1}))"
        )
        argv = ["python3", "-c", code, place]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=Path.cwd())
        assert (done.stdout, done.stderr) == ("False\n", "")
        assert os.listdir(place) == []


class TestWhere:
    def test_it_is_the_runtime_directory_where_that_is_ours(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(status_module, "RUNTIME", str(tmp_path / "{uid}"))
        monkeypatch.setattr(status_module, "IN_RUNTIME", str(tmp_path / "{uid}/proxy"))
        runtime = tmp_path / str(UID)
        runtime.mkdir(mode=0o700)
        environ = {"XDG_RUNTIME_DIR": str(runtime)}
        assert directory(environ, UID) == f"{runtime}/proxy"
        assert directory({"XDG_RUNTIME_DIR": f"{runtime}/"}, UID).startswith("/tmp/")
        runtime.chmod(0o755)
        assert directory(environ, UID) == f"/tmp/vscode-shell-proxy-{UID}"

    @pytest.mark.parametrize("environ", [{}, {"XDG_RUNTIME_DIR": "/root"}])
    def test_it_is_tmp_elsewhere(self, environ: dict[str, str]) -> None:
        """Root would not find what lies where only the user's environment says."""
        assert directory(environ, 1000) == "/tmp/vscode-shell-proxy-1000"


class TestReading:
    def test_a_session_whose_process_is_gone_is_not_shown(
        self, place: str, sleeper: subprocess.Popen[bytes]
    ) -> None:
        path = wrote(place)
        text = Path(path).read_text().replace(f'"pid": {os.getpid()}', f'"pid": {sleeper.pid}')
        ticks = start_ticks(sleeper.pid)
        text = text.replace(f": {start_ticks(os.getpid())}", f": {ticks}")
        Path(place, f"{sleeper.pid}-{ticks}").write_text(text)
        assert {each.pid for each in seen(place)} == {os.getpid(), sleeper.pid}
        sleeper.kill()
        sleeper.wait()
        assert {each.pid for each in seen(place)} == {os.getpid()}

    def test_a_pid_that_another_process_has_now_is_not_shown(self, place: str) -> None:
        path = Path(wrote(place))
        ticks = start_ticks(os.getpid())
        text = path.read_text().replace(str(ticks), str(ticks - 1))
        path.rename(path.with_name(f"{os.getpid()}-{ticks - 1}"))
        path.with_name(f"{os.getpid()}-{ticks - 1}").write_text(text)
        assert seen(place) == []

    @pytest.mark.skipif(UID != 0, reason="needs a process of somebody else")
    def test_a_process_of_somebody_else_is_not_shown(self, place: str) -> None:
        path = Path(wrote(place))
        os.chown(place, 61_234, 61_234)
        os.chown(path, 61_234, 61_234)
        other = place.replace(f"proxy-{UID}", "proxy-61234")
        os.rename(place, other)
        assert statuses(61_234, (f"{Path(place).parent}/proxy-{{uid}}",)) == []

    def test_everybodys_are_found_by_the_number_in_the_name(self, place: str) -> None:
        wrote(place)
        parent = Path(place).parent
        for name in ("proxy-", "proxy-x", "proxy-1234567890123", "proxy-\u0663", "other-1"):
            (parent / name).mkdir()
        assert [each.session for each in seen(place, None)] == [SESSION]

    def test_a_name_that_is_not_the_owners_number_is_not_believed(self, place: str) -> None:
        wrote(place)
        os.rename(place, str(Path(place).with_name("proxy-61235")))
        assert statuses(None, (f"{Path(place).parent}/proxy-{{uid}}",)) == []

    @pytest.mark.parametrize(
        "kind", ["link", "pipe", "directory", "hard link to another's", "long"]
    )
    def test_what_is_no_file_of_the_user_is_neither_read_nor_waited_for(
        self, place: str, kind: str
    ) -> None:
        path = wrote(place)
        kept = f"{place}.kept"
        os.rename(path, kept)
        if kind == "link":
            os.symlink(kept, path)
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "directory":
            os.mkdir(path)
        elif kind == "long":
            Path(path).write_bytes(Path(kept).read_bytes() + b" " * LONGEST)
        else:
            if UID != 0:
                pytest.skip("only root can give a file away")
            os.chown(kept, 61_234, -1)
            os.link(kept, path)
        assert seen(place) == []

    def test_only_so_many_files_are_looked_at(self, place: str) -> None:
        path = Path(wrote(place))
        for number in range(1000):
            path.with_name(f"1-{number}").touch()
        assert len(seen(place)) <= 1


GOOD = {"session": SESSION, "pid": 1, "start_ticks": 2, "started": 3}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "[" * 4000,
        '{"a":' * 600,
        "9" * 4000,
        json.dumps({**GOOD, "session": "0123ABCD"}),
        json.dumps({**GOOD, "session": 12}),
        json.dumps({**GOOD, "session": ["0123abcd"]}),
        json.dumps({**GOOD, "node": "c1\x1b[2J"}),
        json.dumps({**GOOD, "node": None}),
        json.dumps({**GOOD, "pid": -1}),
        json.dumps({**GOOD, "pid": True}),
        json.dumps({**GOOD, "pid": 1.5}),
        json.dumps({**GOOD, "pid": "1"}),
        json.dumps({**GOOD, "bytes": 1 << 63}),
        json.dumps({**GOOD, "bytes": float("nan")}),
        json.dumps({key: GOOD[key] for key in ("session", "pid", "start_ticks")}),
    ],
)
def test_what_no_session_writes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no status file: "):
        Status.parse(text.encode(), UID)


def test_keys_of_a_later_version_are_left_out() -> None:
    status = Status.parse(json.dumps({**GOOD, "colour": {"a": [1]}}).encode(), UID)
    assert status == Status(UID, SESSION, pid=1, start_ticks=2, started=3)
