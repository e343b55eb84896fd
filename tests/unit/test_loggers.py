"""Rows reach every sink as they were given, and files survive a crash."""

import json
import math
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from rolemarl_jax.config import ConfigError
from rolemarl_jax.report import lines, loggers, wandb_files

NONE = {
    "tensorboard": False,
    "wandb": "disabled",
    "per_seed": False,
    "project": "test",
    "entity": None,
}


def row(seed, steps, split="train", **values):
    return {"seed": seed, "env_steps": steps, "split": split, **values}


def test_jsonl_round_trip_and_nan_is_null(tmp_path):
    logger = loggers.make(NONE, tmp_path, {})
    logger.write(
        [
            row(0, 10, td=np.float32(0.5), win_rate=math.nan),
            row(np.int32(1), 10, td=jnp.float32(2.0), grad=jnp.inf),
        ]
    )
    path = tmp_path / "metrics.jsonl"
    stored = [json.loads(line) for line in path.read_text().splitlines()]
    assert stored[0] == row(0, 10, td=0.5, win_rate=None)
    assert stored[1] == row(1, 10, td=2.0, grad=None)
    assert math.isnan(lines.read(path)[0]["win_rate"])
    logger.close()


def test_rows_are_on_disk_before_close_and_appended(tmp_path):
    for steps in (1, 2):
        logger = loggers.jsonl(tmp_path / "m.jsonl")
        logger.write([row(0, steps)])
        assert len(lines.read(tmp_path / "m.jsonl")) == steps
        logger.close()


def test_truncate_after_drops_newer_rows_and_the_cut_line(tmp_path):
    path = tmp_path / "m.jsonl"
    logger = loggers.jsonl(path)
    logger.write([row(seed, steps) for steps in (10, 20, 30) for seed in (0, 1)])
    logger.close()
    with path.open("a") as file:
        file.write('{"seed": 0, "env_st')
    assert len(lines.read(path)) == 6
    assert lines.truncate_after(path, 20, seeds=[1]) == 2
    assert [(r["seed"], r["env_steps"]) for r in lines.read(path)][-1] == (0, 30)
    assert lines.truncate_after(path, 20) == 1
    assert max(r["env_steps"] for r in lines.read(path)) == 20
    assert lines.truncate_after(tmp_path / "absent.jsonl", 20) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]


def test_a_logger_survives_the_truncation_of_its_file(tmp_path):
    logger = loggers.jsonl(tmp_path / "m.jsonl")
    logger.write([row(0, 10), row(0, 20)])
    lines.truncate_after(tmp_path / "m.jsonl", 10)
    logger.write([row(0, 15)])
    assert [r["env_steps"] for r in lines.read(tmp_path / "m.jsonl")] == [10, 15]


def test_tensorboard_gets_means_over_seeds(tmp_path):
    logger = loggers.make({**NONE, "tensorboard": True}, tmp_path, {})
    logger.write([row(0, 5, "test", win_rate=0.0), row(1, 5, "test", win_rate=1.0)])
    logger.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"test/win_rate" in events.read_bytes()


def test_means_skip_missing_values():
    rows = [
        row(0, 5, td=1.0, stage="train"),
        row(1, 5, td=3.0),
        row(2, 5, td=math.nan),
        row(0, 2),
    ]
    assert list(loggers._means(rows)) == [(2, {}), (5, {"train/td": 2.0})]


def wandb_steps(run_dir):
    """Env steps of all rows by wandb id, of one offline file after another."""
    found = {}
    for path in sorted((run_dir / "wandb").glob("offline-run-*/*.wandb")):
        name = path.stem.split("-")[-1]
        found.setdefault(name, []).extend(wandb_files._env_steps(path))
    return found


# A row of 900 metrics is 41 to 49 kB; a process of wandb's own writes blocks of 32 kB.
KILLED = """
import os, pathlib, signal, time
from rolemarl_jax.report import lines, loggers
logger = loggers.make({choice!r}, pathlib.Path({run_dir!r}), {{}})
measured = {{f"metric{{i}}": float(i) for i in range(900)}}
for steps in (5, 10, 15, 20):
    logger.write([dict(seed=3, env_steps=steps, split="train", **measured)])
files = list(pathlib.Path({run_dir!r}).glob("wandb/offline-run-*/*.wandb"))
while min(file.stat().st_size for file in files) < {enough}:
    time.sleep(0.05)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_wandb_gets_each_row_once_whenever_a_process_was_killed(tmp_path):
    pytest.importorskip("wandb")
    choice = {**NONE, "wandb": "offline", "per_seed": True}
    code = KILLED.format(choice=choice, run_dir=str(tmp_path), enough=65536)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=99)
    assert done.returncode == -signal.SIGKILL
    there = wandb_steps(tmp_path)["mean"]
    assert there == [5, 10, 15, 20][: len(there)]
    assert 0 < len(there) < 4, "neither all nor nothing: otherwise this shows little"
    group = (tmp_path / "wandb" / "run-id").read_text()
    # Its checkpoint was of step 10; what was sent of later rows comes once more.
    lines.truncate_after(tmp_path / "metrics.jsonl", 10)
    logger = loggers.make(choice, tmp_path, {}, 10)
    for steps in (15, 20, 25):
        logger.write([row(3, steps, td=1.0)])
    logger.close()
    whole = [5, 10, 15, 20, 25]
    end = time.monotonic() + 60.0  # that process may lag behind on a busy machine
    while wandb_steps(tmp_path) != {"mean": whole, "seed3": whole}:
        assert time.monotonic() < end, wandb_steps(tmp_path)
        time.sleep(0.1)
    assert (tmp_path / "wandb" / "run-id").read_text() == group


def test_wandb_online_goes_on_behind_what_the_server_has(tmp_path, monkeypatch):
    log = []

    def init(**_):
        run = SimpleNamespace(starting_step=16, summary={"env_steps": 15})
        run.define_metric = lambda *_, **__: None
        run.log = lambda values, step, commit: log.append((step, values, commit))
        return run

    fake = SimpleNamespace(init=init, Settings=lambda **_: None)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    loggers.jsonl(tmp_path / "metrics.jsonl").write([row(0, n) for n in (10, 20)])
    logger = loggers.make({**NONE, "wandb": "online"}, tmp_path, {}, 20)
    logger.write([row(0, 30, td=1.0)])
    assert log == [
        (20, {"env_steps": 20}, True),
        (30, {"env_steps": 30, "train/td": 1.0}, True),
    ]


@pytest.mark.parametrize("start", [0, 10])
def test_tensorboard_events_newer_than_the_start_are_void(tmp_path, start):
    """Readers drop what has the step of a session's start, or a later one."""
    from tensorboardX import event_file_writer
    from tensorboardX.proto import event_pb2

    assert event_file_writer
    loggers.tensorboard(tmp_path, start).close()
    (path,) = tmp_path.iterdir()
    data, at, begun = path.read_bytes(), 0, []
    while at < len(data):
        size = int.from_bytes(data[at : at + 8], "little")
        event = event_pb2.Event.FromString(data[at + 12 : at + 12 + size])
        at += size + 16
        if event.HasField("session_log"):
            begun.append((event.session_log.status, event.step))
    assert begun == [(event_pb2.SessionLog.START, start + 1)]


def test_config_is_checked(tmp_path):
    with pytest.raises(ConfigError, match=r"logger\.wandb: got 'yes'"):
        loggers.make({**NONE, "wandb": "yes"}, tmp_path, {})
    assert not (tmp_path / "metrics.jsonl").exists()


def test_every_logger_file_is_a_config(repo):
    for path in (repo / "configs" / "logger").glob("*.yaml"):
        choice = loggers.build(
            loggers.LoggerConfig, yaml.safe_load(path.read_text()), ""
        )
        assert (choice.wandb == "disabled") == (path.stem in ("none", "tensorboard"))


@pytest.mark.parametrize("seeds", [1, 3])
def test_wandb_runs_have_names_that_can_be_read(tmp_path, monkeypatch, seeds):
    called = []

    def init(**asked):
        called.append(asked)
        run = SimpleNamespace(starting_step=0, summary={})
        run.define_metric = run.log = lambda *_, **__: None
        return run

    fake = SimpleNamespace(init=init, Settings=lambda **_: None)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    record = {"algo": {"name": "acorm"}, "env": {"name": "smax", "map": "3m"}}
    record |= {"seed": 2, "seeds": seeds, "preset": "paper"}
    choice = {**NONE, "wandb": "online", "per_seed": True}
    folder = tmp_path / "first"
    folder.mkdir()
    loggers.make(choice, folder, record).write([row(2, 10)])
    assert [one["name"] for one in called] == [
        "acorm-smax-3m-seed2" if seeds == 1 else "acorm-smax-3m-seeds2to4",
        "acorm-smax-3m-seed2",
    ]
    assert {one["group"] for one in called} == {"acorm-smax-3m-first"}
    assert called[0]["tags"] == ["acorm", "smax", "3m", "paper"]
    assert len({one["id"] for one in called}) == len(called)
    assert [one["job_type"] for one in called] == ["mean", "seed"]


def test_a_missing_login_is_told_before_anything_is_compiled(monkeypatch):
    class Error(Exception):
        pass

    def refuse(prompt):
        raise Error("bad key")

    online = {**NONE, "wandb": "online"}
    for login, why in ((lambda prompt: False, "nobody"), (refuse, "bad key")):
        fake = SimpleNamespace(login=login, errors=SimpleNamespace(Error=Error))
        monkeypatch.setitem(sys.modules, "wandb", fake)
        monkeypatch.setitem(sys.modules, "wandb.errors", fake.errors)
        with pytest.raises(ConfigError, match=rf"online.*{why}.*logger=offline"):
            loggers.check(online)
    fake.login = lambda prompt: True
    loggers.check(online)
    loggers.check({**NONE, "wandb": "offline"})
