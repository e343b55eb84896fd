"""Two processes never share a folder; what a dead one left behind locks nothing."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from support import run_config, small_algo, write_chunk

from rolemarl_jax.bridge import recording
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import lock, rundir
from rolemarl_jax.run import session
from rolemarl_jax.sweep import chunks
from rolemarl_jax.sweep import train as sweep_train

HOLD = """
import sys
from rolemarl_jax.disk import lock
with lock.held(sys.argv[1], "run_dir"):
    print("held", flush=True)
    sys.stdin.read()
"""
ALGO = small_algo("iql")

# What the header tells of one.
LEARNER = SimpleNamespace(spec=SimpleNamespace(name="probe"))


@contextlib.contextmanager
def holder(folder, repo):
    """Another process that holds a folder; it lets go when its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        env={**os.environ, "PYTHONPATH": str(repo)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def refused(*_):
    raise ConfigError("refused")


def test_a_second_process_is_told_who_holds_the_folder(tmp_path, repo):
    folder = tmp_path / "run"
    with holder(folder, repo) as process:
        for attempt in (lock.held, lock.require_free):
            with pytest.raises(ConfigError) as error, attempt(folder, "run_dir"):
                pass
            said = str(error.value)
            assert said.startswith(f"run_dir: '{folder}' is in use by process ")
            assert re.search(rf"process {process.pid} on \S+ since 2\d\d\d-", said)
            assert "choose another run_dir" in said
        process.stdin.close()
        assert process.wait(timeout=30) == 0
    assert left(tmp_path) == [], "who wrote nothing leaves nothing"
    with lock.held(folder, "run_dir"):
        assert left(folder) == [rundir.LOCK]


def test_a_killed_process_holds_nothing(tmp_path, repo):
    folder = tmp_path / "run"
    with holder(folder, repo) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    assert left(folder) == [rundir.LOCK]
    lock.require_free(folder, "run_dir")
    with lock.held(folder, "run_dir"):
        assert str(os.getpid()) in (folder / rundir.LOCK).read_text()
    assert left(folder) == []


def test_what_was_there_and_what_was_written_stays(tmp_path):
    with pytest.raises(ConfigError), lock.held(tmp_path / "a" / "b", "run_dir"):
        refused()
    assert left(tmp_path) == []
    (tmp_path / "mine").mkdir()
    with lock.held(tmp_path / "mine" / "c", "run_dir"):
        pass
    assert left(tmp_path) == ["mine"]
    with lock.held(tmp_path / "a" / "b", "run_dir"):
        (tmp_path / "a" / "b" / "rows").write_text("")
    assert left(tmp_path / "a" / "b") == ["rows"]


def test_a_folder_that_was_moved_away_is_let_go(tmp_path):
    with lock.held(tmp_path / "a", "run_dir"):
        (tmp_path / "a").rename(tmp_path / "b")
        with lock.held(tmp_path / "a", "run_dir"):
            pass
    assert left(tmp_path) == ["b"]


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ConfigError, match=r"run_dir: got .*cannot be written"),
        lock.held(tmp_path / "file" / "run", "run_dir"),
    ):
        pass


def test_file_systems_without_locks_are_used_with_a_word(tmp_path, capsys, monkeypatch):
    def flock(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with lock.held(tmp_path, "run_dir"):
        assert left(tmp_path) == [rundir.LOCK]
    assert "cannot be locked (Function not implemented)" in capsys.readouterr().err


def run(run_dir, seeds=2, chunk=None, **over):
    over = {"run_dir": str(run_dir), "sweep": {"chunk": chunk}, **over}
    return run_config(ALGO, seeds, over)


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_is_refused_before_it_plays(tmp_path, repo, resume):
    cfg = run(tmp_path / "run", resume=resume)
    with holder(cfg.run_dir, repo):
        with pytest.raises(ConfigError, match="is in use by process"):
            session.run(cfg, SimpleNamespace(), pytest.fail)
        with pytest.raises(ConfigError, match="is in use by process"):
            sweep_train.train_compiled(cfg, SimpleNamespace(), SimpleNamespace())


def test_a_refused_run_leaves_no_directory(tmp_path):
    cfg = run(tmp_path / "runs" / "one")
    with pytest.raises(ConfigError, match="refused"):
        session.run(cfg, LEARNER, refused)
    assert left(tmp_path) == []


def test_a_full_disk_ends_a_run_with_a_message(tmp_path):
    def play(*_):
        raise OSError(28, "No space left on device")

    cfg = run(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"the disk or a quota is full.*resume=true"):
        session.run(cfg, LEARNER, play)
    with pytest.raises(OSError, match="broken"):
        session.run(cfg, LEARNER, broken)


def broken(*_):
    raise OSError(5, "broken")


def test_a_directory_that_was_used_meanwhile_is_not_fresh_any_more(tmp_path):
    """Two that began in the same second have the same name."""
    cfg = run(tmp_path)
    rundir.create(cfg)
    with pytest.raises(ConfigError, match="holds a run already"):
        session.run(cfg, SimpleNamespace(), pytest.fail)
    assert left(tmp_path) == [rundir.CONFIG]


def test_a_run_in_chunks_holds_its_directory_and_each_chunk(tmp_path, monkeypatch):
    cfg, seen = run(tmp_path / "run", chunk=1), []

    def train(part, env, learner):
        with pytest.raises(ConfigError, match="in use"):
            lock.require_free(cfg.run_dir, "run_dir")
        with session.held(part):
            seen.append(part.seed)
        write_chunk(part)

    monkeypatch.setattr(sweep_train, "_at_once", train)
    monkeypatch.setattr(sweep_train, "seed_shapes", lambda *_: None)
    monkeypatch.setattr(session, "finish", lambda *_: {})
    monkeypatch.setattr(chunks, "plan", lambda cfg, env, learner: cfg)
    sweep_train.train_compiled(cfg, SimpleNamespace(), SimpleNamespace())
    assert seen == [0, 1]
    lock.require_free(cfg.run_dir, "run_dir")


def test_a_folder_of_recordings_belongs_to_one_run(tmp_path, repo):
    from bridge_support import bridge_values

    folder = tmp_path / "episodes"
    cfg = run(tmp_path / "run", bridge=bridge_values(record=str(folder)))
    with (
        holder(folder, repo),
        pytest.raises(ConfigError, match=r"bridge\.record: .* is in use by process"),
        recording.held(cfg),
    ):
        pass
    with recording.held(cfg):
        assert left(folder) == [rundir.LOCK]
    with recording.held(run(tmp_path / "run", bridge=bridge_values())):
        assert left(folder) == []
