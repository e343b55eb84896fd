"""A run that was stopped and goes on equals the one that was not, bit for bit."""

import gc
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import worlds
from support import run_config, small_algo

from rolemarl_jax import stops
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import checkpoint, rundir
from rolemarl_jax.learners import make_learner
from rolemarl_jax.report import lines, loggers
from rolemarl_jax.run import observer, runner, saved

SEEDS = 3
QMIX = small_algo("qmix")
ROLES = (
    small_algo("acorm", {"role": {"contrastive_every": 3}}),
    # Without replay: recurrent states and means of weights go on too.
    *map(small_algo, ("pqn_roma", "pqn_acorm", "pqn_r3dm", "pqn_eoi")),
)


class KilledError(Exception):
    """What the test does to a run."""


def config(run_dir, algo=QMIX, **changes):
    over = {
        "run_dir": str(run_dir),
        "total_steps": 960,
        "log_every": 100,
        "eval": {"every": 200},
        "checkpoint": {"every": 400, "keep": 2, "replay": True},
        **changes,
    }
    return run_config(algo, SEEDS, over)


def train(cfg, stop_at=None, headers=None):
    """Runs to the end, or dies without warning after ``stop_at`` env steps."""
    folder = Path(cfg.run_dir)
    folder.mkdir(exist_ok=True)
    headers = [] if headers is None else headers

    def moved(now):
        if stop_at is not None and now.rows[0]["env_steps"] >= stop_at:
            raise KilledError

    runner.run(
        cfg,
        worlds.probe(worlds.KINDS.index("memory")),
        make_learner(cfg.algo, worlds.SPEC),
        lambda _: loggers.jsonl(folder / rundir.METRICS),
        observer.Observer(headers.append, moved),
    )


def rows(run_dir):
    found = lines.read(Path(run_dir) / rundir.METRICS)
    return [{k: v for k, v in row.items() if k != "wall_s"} for row in found]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train(config(folder))
    return folder


def states(cfg):
    """Restored parts of the newest checkpoint, keys as numbers."""
    learner = make_learner(cfg.algo, worlds.SPEC)
    program = runner.make_program(
        cfg, worlds.probe(worlds.KINDS.index("memory")), learner
    )
    ids = jnp.arange(program.members)
    parts = jax.eval_shape(lambda: saved.parts(cfg, program.init(ids)))
    found = checkpoint.restore(Path(cfg.run_dir) / rundir.CHECKPOINTS, parts)
    plain = jax.tree.map(
        lambda x: (
            jax.random.key_data(x)
            if jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
            else x
        ),
        found.state,
    )
    return found.step, [np.asarray(x) for x in jax.tree.leaves(plain)]


@pytest.mark.parametrize("stop_at", [420, pytest.param(700, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_where_it_was(whole, tmp_path, stop_at):
    with pytest.raises(KilledError):
        train(config(tmp_path), stop_at)
    train(config(tmp_path, resume=True))
    same(tmp_path, whole, QMIX)


@pytest.mark.slow
@pytest.mark.parametrize("algo", ROLES, ids=lambda algo: algo["name"])
def test_a_role_method_goes_on_where_it_was(tmp_path, algo):
    """With what it keeps besides, and after a stage of pre-training."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(config(whole, algo))
    with pytest.raises(KilledError):
        train(config(killed, algo), 420)
    train(config(killed, algo, resume=True))
    same(killed, whole, algo)


def same(run_dir, whole, algo):
    """Rows and last checkpoints are equal to the bit."""
    np.testing.assert_equal(rows(run_dir), rows(whole))
    step, ours = states(config(run_dir, algo))
    expected_step, expected = states(config(whole, algo))
    assert step == expected_step == 960
    assert len(ours) == len(expected) > 40
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_checkpoint_cut_short_costs_no_more_than_itself(whole, tmp_path):
    with pytest.raises(KilledError):
        train(config(tmp_path), 900)
    newest = Path(tmp_path) / rundir.CHECKPOINTS / "800"
    for path in newest.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    train(config(tmp_path, resume=True))
    np.testing.assert_equal(rows(tmp_path), rows(whole))


@pytest.mark.slow
def test_total_steps_may_grow(whole, tmp_path):
    shorter = config(tmp_path, total_steps=720)
    train(shorter)
    train(config(tmp_path, resume=True))
    last = [row for row in rows(tmp_path) if row["env_steps"] == 960]
    assert last == [row for row in rows(whole) if row["env_steps"] == 960]


@pytest.mark.slow
def test_a_stop_in_the_last_leg_stops_nothing(whole, tmp_path, monkeypatch):
    """The run is over and saved, as if nobody had asked."""

    @contextmanager
    def asked(_):
        answers = iter((False,))  # before the first leg
        yield lambda: next(answers, True)

    with pytest.raises(KilledError):
        train(config(tmp_path), 900)
    monkeypatch.setattr(stops, "requests", asked)
    cfg = config(tmp_path, resume=True)
    with pytest.raises(observer.Interrupted):
        train(cfg)  # a leg follows
    train(cfg)
    np.testing.assert_equal(rows(tmp_path), rows(whole))


@pytest.mark.slow
def test_a_run_killed_before_its_first_checkpoint_begins_anew(whole, tmp_path):
    rundir.create(config(tmp_path))
    with pytest.raises(KilledError):
        train(config(tmp_path), 100)
    before = len(rows(tmp_path))
    assert before > 0 and not (tmp_path / rundir.CHECKPOINTS).exists()
    told: list = []
    train(config(tmp_path, resume=True), headers=told)
    assert told[0].resumed_at == 0
    assert told[0].note == (
        f"no checkpoint was written yet: begins anew, {before} rows dropped."
    )
    np.testing.assert_equal(rows(tmp_path), rows(whole))


def test_what_cannot_be_resumed_is_refused_before_compiling(tmp_path, monkeypatch):
    # Orbax leaves futures that nobody awaits where a shape does not fit.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    train(config(tmp_path, total_steps=720))
    before = rows(tmp_path)
    monkeypatch.setattr(runner, "compile_program", lambda *_: pytest.fail("compiled"))
    other = small_algo("qmix", {"role": {"hidden": 24}})
    with pytest.raises(ConfigError, match="can be read by this configuration: 7"):
        train(config(tmp_path, resume=True, algo=other))
    (tmp_path / rundir.SUMMARY).write_text("{")  # damaged, and tells of an end
    shutil.rmtree(tmp_path / rundir.CHECKPOINTS)  # of a run that came to its end
    with pytest.raises(ConfigError, match="no checkpoint"):
        train(config(tmp_path, resume=True))
    np.testing.assert_equal(rows(tmp_path), before)
    gc.collect()


def test_nothing_to_resume(tmp_path):
    with pytest.raises(ConfigError, match="no checkpoint"):
        train(config(tmp_path, resume=True))


def test_a_run_too_short_to_train(tmp_path):
    with pytest.raises(ConfigError, match="total_steps"):
        train(config(tmp_path, total_steps=100))


def test_intervals_have_to_fit(tmp_path):
    with pytest.raises(ConfigError, match=r"eval\.every"):
        train(config(tmp_path, log_every=90))
