"""A chunk that runs out of memory goes on as halves from what it had saved."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from probes import worlds
from support import run_config, small_algo

from rolemarl_jax.disk import rundir
from rolemarl_jax.learners import make_learner
from rolemarl_jax.program.program import seed_shapes
from rolemarl_jax.report import lines, loggers, summary
from rolemarl_jax.run import observer, runner
from rolemarl_jax.sweep import chunks, halving
from rolemarl_jax.sweep.shares import ALONE

WORLD = worlds.probe(worlds.KINDS.index("match"))


def config(run_dir, chunk):
    over = {
        "run_dir": str(run_dir),
        "total_steps": 960,
        "log_every": 200,
        "eval": {"every": 200, "episodes": 4, "worlds": 4},
        "checkpoint": {"every": 400, "keep": 2, "replay": True},
        "replay": {"episodes": 64, "batch": 8},
        "seed": 3,
    }
    cfg = run_config(small_algo("iql"), 4, over)
    return replace(cfg, sweep=replace(cfg.sweep, chunk=chunk))


def trainer(log, fits, dies_at):
    """Trains; more than ``fits`` seeds exceed the memory after ``dies_at`` steps."""

    def train(cfg):
        folder = Path(cfg.run_dir)
        folder.mkdir(parents=True, exist_ok=True)

        def started(header):
            log.append((cfg.seed, cfg.seeds, header.resumed_at))

        def moved(now):
            if cfg.seeds > fits and now.rows[0]["env_steps"] >= dies_at:
                raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")

        runner.run(
            cfg,
            WORLD,
            make_learner(cfg.algo, WORLD.spec),
            lambda _: loggers.jsonl(folder / rundir.METRICS),
            observer.Observer(started, moved),
        )
        summary.write(folder, {"env_steps": cfg.total_steps, "seeds": cfg.seeds})

    return train


def shapes(cfg):
    return seed_shapes(cfg, WORLD, make_learner(cfg.algo, WORLD.spec))


def rows(cfg):
    found = lines.read(Path(cfg.run_dir) / rundir.METRICS)
    plain = [{k: v for k, v in row.items() if k != "wall_s"} for row in found]
    return sorted(plain, key=lambda r: (r["seed"], r["env_steps"], r["split"]))


@pytest.mark.slow
def test_halves_go_on_where_the_chunk_was(tmp_path, monkeypatch, capsys):
    whole, halved = config(tmp_path / "a", 2), config(tmp_path / "b", 4)
    log: list = []
    chunks.run(halved, trainer(log, 2, 600), lambda: None, shapes(halved))
    assert log == [(3, 4, 0), (3, 2, 400), (5, 2, 400)]
    assert "with 4 seeds; going on from 400 env steps with 2" in capsys.readouterr().out
    names = [path.name for path in sorted((tmp_path / "b" / "chunks").iterdir())]
    assert names == ["000003-000004", "000005-000006"]
    chunks.run(whole, trainer([], 2, 700), lambda: None, shapes(whole))
    np.testing.assert_equal(rows(halved), rows(whole))
    assert {row["seed"] for row in rows(halved)} == {3, 4, 5, 6}


def test_nothing_saved_begins_anew(tmp_path, capsys):
    whole = replace(config(tmp_path / "c", 4), sweep=config(tmp_path, 4).sweep)
    (tmp_path / "c").mkdir()
    assert halving.split(whole, [], shapes(whole)) is None
    assert not (tmp_path / "c").exists() and list(tmp_path.iterdir()) == []


def test_a_split_that_did_not_end_is_done_again(tmp_path, monkeypatch):
    """As long as the chunk is there, its halves are not."""
    cfg = config(tmp_path, 4)
    for name in ("000003-000006", "000003-000004"):
        (tmp_path / "chunks" / name).mkdir(parents=True)
    assert [*chunks._chunks(cfg, ALONE)] == [(3, 6)]
    (tmp_path / "chunks" / "000003-000006").rmdir()
    assert [*chunks._chunks(cfg, ALONE)] == [(3, 4), (5, 6)]
    (tmp_path / "chunks" / "000003-000004").rename(tmp_path / "chunks/000003-000003")
    assert [*chunks._chunks(cfg, ALONE)] == [(3, 3), (4, 4), (5, 6)]
