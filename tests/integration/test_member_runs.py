"""Hyper-parameters as one more axis of the program, and members that diverge."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import worlds
from support import run_config, small_algo

from experiments import evaluate
from rolemarl_jax.disk import rundir
from rolemarl_jax.learners import make_learner
from rolemarl_jax.program.divergence import GOING_ON
from rolemarl_jax.program.program import Cursor, make_program
from rolemarl_jax.report import findings, lines, loggers
from rolemarl_jax.run import observer, runner

ENV = worlds.probe(worlds.KINDS.index("match"))
LONGER = ("acorm", "r3dm", "roma", "eoi", "acorm_mappo", "eoi_ippo", "eoi_maac")
# Phases that are due at once, and policies that move so far that ratios are clipped.
OFTEN = {
    "acorm": {"role": {"contrastive_every": 1}},
    "r3dm": {"role": {"contrastive_every": 1}},
    "acorm_mappo": {"role": {"contrastive_every": 1}, "actor_lr": 0.05},
    "eoi_ippo": {"actor_lr": 0.05},
}
SMALL = {
    "replay": {"episodes": 64, "batch": 8},
    "eval": {"every": 200, "episodes": 4, "worlds": 4},
}


def plain(tree):
    """Arrays of a state; keys as numbers."""

    def array(x):
        typed = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(x) if typed else x)

    return [array(x) for x in jax.tree.leaves(tree)]


def trained(program, rate, values):
    """Three seeds with a learning rate each, warmed up and trained."""
    state = program.init(jnp.arange(3), {rate: jnp.asarray(values, jnp.float32)})
    tick, seen = 0, []
    for stage, count in [(0, program.stages[0].iterations), (1, 3), (1, 3)]:
        update = max(0, len(seen) - 1) * 3 * program.updates
        cursor = Cursor(*(jnp.asarray(x, jnp.int32) for x in (tick, update, stage)))
        state, tally = program.segment(state, cursor, jnp.asarray(count))
        tick += int(count) * program.ticks
        seen.append((jax.tree.map(jnp.copy, state), tally))
    return seen


@pytest.mark.parametrize(
    ("name", "by", "rate"),
    [
        ("qmix", "vmap", "lr"),
        pytest.param("qmix", "map", "lr", marks=pytest.mark.slow),
        pytest.param("mappo", "vmap", "actor_lr", marks=pytest.mark.slow),
        pytest.param("maac", "vmap", "critic_lr", marks=pytest.mark.slow),
    ],
)
def test_a_member_that_diverges_leaves_the_others_alone(name, by, rate):
    algo = small_algo(name)
    cfg = run_config(algo, 3, {**SMALL, "train": {"seeds_by": by}})
    program = make_program(cfg, ENV, make_learner(algo, ENV.spec), jax.devices()[:1])
    sane = trained(program, rate, [1e-3, 2e-3, 1e-3])
    wild = trained(program, rate, [1e-3, 1e38, 1e-3])
    for ours, theirs in zip(sane, wild, strict=True):
        for a, b in zip(plain(ours), plain(theirs), strict=True):
            np.testing.assert_array_equal(a[[0, 2]], b[[0, 2]])
    (before, _), (after, tally) = wild[1:]
    warm = program.stages[0].iterations * program.ticks * program.worlds
    frozen = after.diverged_at.tolist()
    assert (sane[-1][0].diverged_at == GOING_ON).all()
    assert frozen[0] == frozen[2] == GOING_ON and frozen[1] > warm
    # Frozen for good: nothing that it learned has moved in the last segment.
    for a, b in zip(plain(before.learner), plain(after.learner), strict=True):
        np.testing.assert_array_equal(a[1], b[1])
        assert np.isfinite(a[1]).all()
    counts = [count for name, count in tally.counts.items() if "/loss_" in name]
    assert counts and all(count.tolist() == [count[0], 0, count[0]] for count in counts)


def config(run_dir, hypers, **changes):
    over = {
        "run_dir": str(run_dir),
        "total_steps": 800,
        "log_every": 100,
        "checkpoint": {"every": 400, "keep": 2, "replay": True},
        **SMALL,
        **changes,
    }
    cfg = run_config(small_algo("qmix"), 2, over)
    return replace(cfg, sweep=replace(cfg.sweep, hypers=hypers))


class KilledError(Exception):
    """What the test does to a run."""


def train(cfg, stop_at=None):
    folder = Path(cfg.run_dir)
    folder.mkdir(exist_ok=True)
    progress = []

    def moved(now):
        progress.append(now)
        if stop_at is not None and now.rows[0]["env_steps"] >= stop_at:
            raise KilledError

    runner.run(
        cfg,
        ENV,
        make_learner(cfg.algo, ENV.spec),
        lambda _: loggers.jsonl(folder / rundir.METRICS),
        observer.Observer(lambda _: None, moved),
    )
    return progress


def rows(run_dir):
    found = lines.read(Path(run_dir) / rundir.METRICS)
    return [{k: v for k, v in row.items() if k != "wall_s"} for row in found]


@pytest.mark.slow
def test_runs_of_members(tmp_path, monkeypatch):
    """Rows, the plain run among them, divergence, going on, evaluation."""
    own = small_algo("qmix")["lr"]
    hypers = {"lr": (own, 1e38)}
    made = train(config(tmp_path / "swept", hypers))
    assert made[-1].steps_done == 4 * 800
    swept = rows(tmp_path / "swept")
    train(config(tmp_path / "plain", {}))
    sane = [dict(row) for row in swept if row["hyper/lr"] == own]
    assert [row.pop("hyper/lr") for row in sane]
    np.testing.assert_equal(sane, rows(tmp_path / "plain"))

    wild = [row for row in swept if row["hyper/lr"] == 1e38]
    assert len(wild) == len(sane)
    assert all(("frozen_at" in row) == (row["env_steps"] >= 200) for row in wild[-8:])
    learned = [row["td/loss_td"] for row in wild if row["split"] == "train"]
    assert np.isnan(learned[-4:]).all(), "updates that do not count are not reported"

    with pytest.raises(KilledError):
        train(config(tmp_path / "again", hypers), 500)
    train(config(tmp_path / "again", hypers, resume=True))
    np.testing.assert_equal(rows(tmp_path / "again"), swept)

    cfg = config(tmp_path / "swept", hypers)
    found = findings.summarise(cfg, lines.read(tmp_path / "swept/metrics.jsonl"), {})
    assert [(one["hypers"]["lr"], one["frozen"]) for one in found["ranking"]]
    assert {one["seed"] for one in found["frozen"]} == {0, 1}
    assert {one["hypers"]["lr"] for one in found["frozen"]} == {1e38}

    monkeypatch.setattr("envs.make", lambda _: ENV)
    played = evaluate.play(cfg, 4, None)
    pairs = [(one["seed"], one["hyper/lr"]) for one in played["seeds"]]
    assert pairs == [(0, own), (0, 1e38), (1, own), (1, 1e38)]
    last = [row for row in swept if row["split"] == "test"][-4:]
    assert [one["return"] for one in played["seeds"]] == pytest.approx(
        [row["return"] for row in last]
    )
    assert [one["hypers"] for one in played["combinations"]] == [
        {"lr": own},
        {"lr": 1e38},
    ]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) for name in ("qmix", *LONGER)],
)
def test_every_hyper_parameter_is_read(name):
    """One member for each, which ends elsewhere than the first if it alone differs."""
    algo = small_algo(name, OFTEN.get(name))
    learner = make_learner(algo, ENV.spec)
    names = learner.hypers
    cfg = run_config(algo, 1 + len(names), {**SMALL, "train": {"seeds_by": "vmap"}})
    program = make_program(cfg, ENV, learner, jax.devices()[:1])
    ids = jnp.zeros(cfg.seeds, jnp.int32)
    hypers = {n: np.array(x) for n, x in program.init(ids).learner.hypers.items()}
    for place, changed in enumerate(names, 1):
        hypers[changed][place] = 0.5 * hypers[changed][0] or 0.5
    state = program.init(ids, hypers)
    tick = 0
    for index, stage in enumerate(program.stages):
        count = stage.iterations if stage.name == "warmup" else 2
        cursor = Cursor(*(jnp.asarray(x, jnp.int32) for x in (tick, 0, index)))
        state, _ = program.segment(state, cursor, jnp.asarray(count))
        tick += int(count) * program.ticks
    leaves = plain((state.learner.params, state.learner.target, state.learner.aux))
    for place, changed in enumerate(names, 1):
        assert any((x[0] != x[place]).any() for x in leaves), changed
