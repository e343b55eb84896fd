"""Rows reach every sink as they were given, and files survive a crash."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest
import yaml

from rolemarl_jax.config import ConfigError
from rolemarl_jax.report import loggers

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
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0] == row(0, 10, td=0.5, win_rate=None)
    assert lines[1] == row(1, 10, td=2.0, grad=None)
    assert math.isnan(loggers.read(path)[0]["win_rate"])
    logger.close()


def test_rows_are_on_disk_before_close_and_appended(tmp_path):
    for steps in (1, 2):
        logger = loggers.jsonl(tmp_path / "m.jsonl")
        logger.write([row(0, steps)])
        assert len(loggers.read(tmp_path / "m.jsonl")) == steps
        logger.close()


def test_truncate_after_drops_newer_rows_and_the_cut_line(tmp_path):
    path = tmp_path / "m.jsonl"
    logger = loggers.jsonl(path)
    logger.write([row(seed, steps) for steps in (10, 20, 30) for seed in (0, 1)])
    logger.close()
    with path.open("a") as file:
        file.write('{"seed": 0, "env_st')
    assert len(loggers.read(path)) == 6
    assert loggers.truncate_after(path, 20, seeds=[1]) == 2
    assert [(r["seed"], r["env_steps"]) for r in loggers.read(path)][-1] == (0, 30)
    assert loggers.truncate_after(path, 20) == 1
    assert max(r["env_steps"] for r in loggers.read(path)) == 20
    assert loggers.truncate_after(tmp_path / "absent.jsonl", 20) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]


def test_a_logger_survives_the_truncation_of_its_file(tmp_path):
    logger = loggers.jsonl(tmp_path / "m.jsonl")
    logger.write([row(0, 10), row(0, 20)])
    loggers.truncate_after(tmp_path / "m.jsonl", 10)
    logger.write([row(0, 15)])
    assert [r["env_steps"] for r in loggers.read(tmp_path / "m.jsonl")] == [10, 15]


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


def test_wandb_writes_offline_files_and_keeps_its_id(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    choice = {**NONE, "wandb": "offline", "per_seed": True}
    for steps in (5, 10):
        logger = loggers.make(choice, tmp_path, {"algo": {"name": "vdn"}}, steps - 5)
        logger.write([row(3, steps, td=1.0), row(4, steps, td=2.0)])
        logger.close()
    group = (tmp_path / "wandb" / "run-id").read_text()
    names = [p.name for p in (tmp_path / "wandb").glob("offline-run-*")]
    for part in ("mean", "seed3", "seed4"):
        assert any(name.endswith(f"{group}-{part}") for name in names)


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
