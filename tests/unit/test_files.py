"""A crash in mid-write leaves the old file, and nothing beside it."""

import stat
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.bench import __main__ as bench
from rolemarl_jax.bridge import keys
from rolemarl_jax.bridge.collect import Episode
from rolemarl_jax.bridge.recording import Recorder
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import files
from rolemarl_jax.report import loggers

NOT_UTF8 = "half\udc80"


class Crash(BaseException):
    """As a signal or a full disk: no ordinary error."""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_cannot_be_written_is_refused_beforehand(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "new", tmp_path / "file", tmp_path / "a" / "b" / "c"):
        files.require_writable(path, "out")
    for path in (tmp_path, tmp_path / "a" / "b"):
        files.require_folder(path, "out")
    assert names(tmp_path) == ["file"]
    for path, told in (
        (tmp_path, "a directory; allowed: a file's name"),
        (tmp_path / "file" / "x" / "y", "file' is no directory"),
    ):
        with pytest.raises(ConfigError, match=f"^out: got '{path}', .*{told}"):
            files.require_writable(path, "out")
    with pytest.raises(ConfigError, match="is no directory"):
        files.require_folder(tmp_path / "file", "docs")
    monkeypatch.setattr(files.os, "access", lambda path, _: path != tmp_path)
    for require, path in (
        (files.require_writable, tmp_path / "a" / "b"),
        (files.require_writable, tmp_path / "file"),
        (files.require_folder, tmp_path),
    ):
        with pytest.raises(ConfigError, match="cannot be written; choose another out"):
            require(path, "out")


@pytest.mark.parametrize("old", ["old", None])
def test_a_crash_in_mid_write_changes_nothing(tmp_path, old):
    path = tmp_path / "file"
    if old is not None:
        path.write_text(old)
    with pytest.raises(Crash), files.replacing(path) as scratch:
        scratch.write_text("half of the ne")
        assert scratch.parent == tmp_path
        raise Crash
    assert names(tmp_path) == ([] if old is None else ["file"])
    assert old is None or path.read_text() == old


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file"
    files.write_text(path, "old")
    with files.replacing(path) as scratch:
        scratch.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("write", [files.write_text, files.create_text])
def test_text_that_cannot_be_written_leaves_nothing(tmp_path, write):
    with pytest.raises(UnicodeEncodeError):
        write(tmp_path / "file", NOT_UTF8)
    assert names(tmp_path) == []


def test_what_is_there_is_not_overwritten(tmp_path):
    path = tmp_path / "file"
    assert files.create_text(path, "first")
    assert not files.create_text(path, "second")
    assert path.read_text() == "first"
    assert names(tmp_path) == ["file"]


def test_of_several_that_create_a_file_one_succeeds(tmp_path):
    path = tmp_path / "file"
    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(partial(files.create_text, path), map(str, range(8))))
    assert sum(done) == 1
    assert path.read_text() == str(done.index(True))
    assert names(tmp_path) == ["file"]


POOL = SimpleNamespace(slots=[SimpleNamespace(seeds=[3])])


def episode(number=7):
    zeros = np.zeros((2, 1, 1), np.float32)
    return Episode(
        number, 0, zeros, zeros, zeros > 0, zeros[:1], zeros[:1, 0, 0], True, True
    )


def test_a_recorded_episode_is_whole_or_absent(tmp_path, monkeypatch):
    recorder = Recorder(str(tmp_path), POOL, 0)
    recorder.write(episode())
    assert names(tmp_path) == ["00000007.npz"]
    with np.load(tmp_path / "00000007.npz", allow_pickle=False) as found:
        assert int(found["seed"]) == 3
        np.testing.assert_array_equal(found["obs"], episode().obs)

    def half(file, **_):
        file.write(b"half")
        raise Crash

    before = (tmp_path / "00000007.npz").read_bytes()
    monkeypatch.setattr(np, "savez_compressed", half)
    with pytest.raises(Crash):
        recorder.write(episode())
    assert names(tmp_path) == ["00000007.npz"]
    assert (tmp_path / "00000007.npz").read_bytes() == before


def test_recordings_go_on_behind_those_that_are_there(tmp_path):
    """A fresh run in a used folder, and one that goes on before its last episodes."""
    first = Recorder(str(tmp_path), POOL, 0)
    for number in (2, 1):
        first.write(episode(number))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    Recorder(str(tmp_path), POOL, 0).write(episode(1))
    Recorder(str(tmp_path), POOL, 1).write(episode(2))
    Recorder(str(tmp_path), POOL, 9).write(episode(10))
    new = {"00000003.npz": 3, "00000004.npz": 4, "00000010.npz": 10}
    assert names(tmp_path) == sorted({**before, **new})
    for name, data in before.items():
        assert (tmp_path / name).read_bytes() == data
    for name, number in new.items():
        with np.load(tmp_path / name, allow_pickle=False) as found:
            assert int(found["id"]) == number


def test_an_id_of_wandb_is_whole_or_absent(tmp_path, monkeypatch):
    first = loggers._run_id(tmp_path)
    assert loggers._run_id(tmp_path) == first
    (tmp_path / "wandb" / "run-id").unlink()
    monkeypatch.setattr(files.os, "replace", crash)
    with pytest.raises(Crash):
        loggers._run_id(tmp_path)
    assert names(tmp_path / "wandb") == []


def crash(*_):
    raise Crash


def test_tables_of_benchmarks_are_added_to_what_is_there(tmp_path, monkeypatch):
    path = tmp_path / "docs.md"
    bench._append(path, "one\n")
    bench._append(path, "two\n")
    monkeypatch.setattr(files.os, "replace", crash)
    with pytest.raises(Crash):
        bench._append(path, "three\n")
    assert path.read_text() == "one\ntwo\n"
    assert names(tmp_path) == ["docs.md"]


def test_a_key_is_private_and_never_replaced(tmp_path, monkeypatch):
    path = tmp_path / "key"
    monkeypatch.setattr("sys.argv", ["keys", str(path)])
    keys.main()
    written = path.read_text()
    assert [len(line) for line in written.splitlines()] == [40, 40]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(SystemExit, match="is there already"):
        keys.main()
    assert path.read_text() == written
    monkeypatch.setattr("sys.argv", ["keys", str(tmp_path / "nowhere" / "key")])
    with pytest.raises(SystemExit, match="No such file"):
        keys.main()
    assert names(tmp_path) == ["key"]


def writes_by_itself(source):
    """Lines of Python that open a file for writing, and no scratch of ours."""
    calls = (".write_text(", ".write_bytes(", 'open("w', 'open("a', 'open("x')
    return [
        line.strip()
        for line in source.splitlines()
        if any(call in line for call in calls)
        and not any(word in line for word in ("files.", "scratch"))
    ]


def test_every_file_is_written_through_one_door(repo):
    """Left out: rows and failures are appended, logs stream, games save replays."""
    allowed = {
        "rolemarl_jax/report/loggers.py": 1,
        "rolemarl_jax/bridge/pool/complaints.py": 1,
        "rolemarl_jax/bridge/worker/process.py": 1,
        "rolemarl_jax/bridge/worker/games/scripted.py": 1,
        "experiments/studies/processes.py": 1,
    }
    for top in ("rolemarl_jax", "experiments"):
        for path in Path(repo / top).rglob("*.py"):
            found = writes_by_itself(path.read_text(encoding="utf8"))
            place = path.relative_to(repo).as_posix()
            assert len(found) == allowed.get(place, 0), (place, found)
