"""Whole runs over the bridge: files, counts, stopping and going on."""

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import yaml
from bridge_support import bridge_values, world
from support import run_config, small_algo

from experiments import evaluate
from experiments import run as command
from experiments.door import cli, compose, resume
from rolemarl_jax.bridge import opening
from rolemarl_jax.bridge import runner as bridge_runner
from rolemarl_jax.bridge.matches import greedy
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import checkpoint, rundir
from rolemarl_jax.experience.replay import make_replay
from rolemarl_jax.experience.store import observation_store
from rolemarl_jax.learners import make_learner
from rolemarl_jax.report import lines, loggers
from rolemarl_jax.run import observer, session
from rolemarl_jax.run.stored import Games
from rolemarl_jax.types import EnvSpec

COLUMNS = [
    *("seed", "env_steps", "updates", "stage", "split"),
    *("return", "win_rate", "episode_length", "episodes"),
    *("workers", "restarts", "aborts", "game_restarts", "wall_s"),
]
FAULTS = {"faults": ["killed", "error", "crash"], "fault_chance": 0.01}


def config(run_dir, algo="iql", bridge=None, **changes):
    """A run of a minute's fraction; episodes have at most 20 steps."""
    small = small_algo(algo, {"role": {"hidden": 8}})
    over = {
        "run_dir": str(run_dir),
        "total_steps": 600,
        "log_every": 100,
        "bridge": bridge_values(**{"restarts_per_hour": 1000, **(bridge or {})}),
        "replay": {"store": "observations", "mean_length": 20, "batch": 4},
        "eval": {"every": 300, "episodes": 4, "worlds": 4},
        "checkpoint": {"every": 300, "keep": 2, "replay": True},
    }
    cfg = run_config(small, over=over)
    return resume.build(type(cfg), {**dataclasses.asdict(cfg), **changes}, "run")


def interrupt(_):
    os.kill(os.getpid(), signal.SIGINT)


def train(cfg, remote=None, at=None, then=interrupt):
    """Runs; ``at`` env steps later ``then(pool)``: the process is asked to stop."""
    folder = Path(cfg.run_dir)
    folder.mkdir(exist_ok=True)

    asked = []

    def moved(now):
        if at is not None and not asked and now.rows[0]["env_steps"] >= at:
            asked.append(True)  # a second signal would not let it save
            then(pool)

    with opening.opened(cfg, remote or world()) as pool:
        learner = make_learner(cfg.algo, pool.spec)
        return bridge_runner.run(
            cfg,
            pool,
            learner,
            lambda _: loggers.jsonl(folder / rundir.METRICS),
            observer.Observer(lambda _: None, moved),
        )


def rows(cfg):
    return lines.read(Path(cfg.run_dir) / rundir.METRICS)


SPEC = EnvSpec("scripted", 3, 4, 8, 6, 20, obs_flags=(4, 5, 6, 7))
STORE = observation_store(SPEC)


def saved(cfg, step=None):
    """Meta and plain arrays of a checkpoint's replay."""
    folder = Path(cfg.run_dir) / rundir.CHECKPOINTS
    kept = make_replay(cfg.replay, SPEC, STORE, 1)
    shapes = jax.eval_shape(lambda: jax.tree.map(lambda x: x[None], kept.init()))
    found = checkpoint.restore(folder, {"replay": shapes}, step)
    return found.meta, jax.tree.map(lambda x: np.asarray(x[0]), found.state["replay"])


def test_a_run_with_faults_trains_on_whole_episodes_only(tmp_path):
    """What lies in replay is what was finished: each id once, in order, whole."""
    record = tmp_path / "episodes"
    cfg = config(tmp_path / "run", bridge={"record": str(record)})
    told = train(cfg, world(**FAULTS))["bridge"]
    assert told["aborts"] > 0
    files = sorted(record.glob("*.npz"))
    meta, kept = saved(cfg)
    assert (
        int(kept.count) == len(files) == told["episodes"] - lost_in_training(cfg, files)
    )
    by_id = {}
    for path in files:
        with np.load(path, allow_pickle=False) as file:
            by_id[int(file["id"])] = dict(file)
    stored = [kept.slots.reward[s : s + 20] for s in kept.start[: int(kept.count)]]
    lengths = np.diff([*kept.start[: int(kept.count)], kept.head[0]]) - 1
    left = list(by_id.values())
    seen = jax.vmap(STORE.decode)(kept.slots.world)
    starts = kept.start[: int(kept.count)]
    for start, rewards, length in zip(starts, stored, lengths, strict=True):
        match = [
            one
            for one in left
            if len(one["reward"]) == length
            and np.array_equal(one["reward"], rewards[:length])
        ]
        assert match, "an episode in replay that was never finished"
        left.remove(match[0])
        for name, values in seen._asdict().items():
            ours = values[start : start + length + 1]
            np.testing.assert_array_equal(ours, match[0][name], name)
    assert left == []
    assert meta["env_steps"] == sum(len(one["reward"]) for one in by_id.values())
    found = rows(cfg)
    assert found[-1]["aborts"] == told["aborts"]
    assert {row["split"] for row in found} == {"train", "test"}
    assert [list(row)[: len(COLUMNS)] for row in found] == [COLUMNS] * len(found)
    expected = int(kept.count) - 3  # the fourth episode fills the first batch of four
    assert sum_of_updates(found) == meta["counters"][2] == expected


def test_a_run_whose_learning_diverges_stops_and_keeps_what_was(tmp_path):
    cfg = config(tmp_path / "run")
    cfg = dataclasses.replace(cfg, algo={**cfg.algo, "lr": 1e38})
    with pytest.raises(observer.StoppedError, match=r"diverged at update .* algo\.lr"):
        train(cfg)
    # It may be so before the first row is due.
    there = (Path(cfg.run_dir) / rundir.METRICS).is_file()
    assert all(row["env_steps"] < 600 for row in (rows(cfg) if there else []))
    folder = Path(cfg.run_dir) / rundir.CHECKPOINTS
    learner = make_learner(cfg.algo, SPEC)
    shapes = jax.eval_shape(learner.init, jax.random.key(0))
    stacked = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), shapes
    )
    kept = checkpoint.restore(folder, {"learner": stacked}).state["learner"]
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(kept.params))


def lost_in_training(cfg, files):
    """Ids that were begun and not finished."""
    ids = {int(path.stem) for path in files}
    return len(set(range(1, max(ids) + 1)) - ids) + trailing(cfg, ids)


def trailing(cfg, ids):
    meta, _ = saved(cfg)
    return meta["iterations"] - max(ids)


def sum_of_updates(found):
    return max(row["updates"] for row in found)


def test_a_run_that_was_stopped_goes_on(tmp_path):
    cfg = config(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(cfg, at=200)
    meta, before = saved(cfg)
    assert 200 <= meta["env_steps"] < 400
    with (tmp_path / rundir.METRICS).open("a") as file:
        file.write(json.dumps({"seed": 0, "env_steps": 599, "split": "train"}) + "\n")
    train(config(tmp_path, resume=True, total_steps=700))
    after_meta, after = saved(cfg)
    assert after_meta["iterations"] > meta["iterations"]
    assert after_meta["counters"][2] - meta["counters"][2] == int(after.count) - int(
        before.count
    )
    kept = int(before.head[0])
    for a, b in zip(
        jax.tree.leaves(before.slots), jax.tree.leaves(after.slots), strict=True
    ):
        np.testing.assert_array_equal(a[:kept], b[:kept])
    steps = [row["env_steps"] for row in rows(cfg)]
    assert steps == sorted(steps)
    assert 599 not in steps
    assert steps[-1] >= 700


def test_a_run_killed_before_its_first_checkpoint_begins_anew(tmp_path):
    cfg = config(tmp_path, resume=True, total_steps=200, log_every=50)
    rundir.create(cfg)
    row = {"seed": 0, "env_steps": 50, "split": "train"}
    (tmp_path / rundir.METRICS).write_text(json.dumps({**row, "old": 1}) + "\n")
    train(cfg)
    found = rows(cfg)
    assert found and not any("old" in row for row in found)
    assert saved(cfg)[0]["env_steps"] >= 200


def test_too_few_workers_save_and_stop(tmp_path):
    cfg = config(tmp_path, bridge={"min_workers": 2, "restarts_per_hour": 0})
    with pytest.raises(observer.StoppedError, match="min_workers"):
        train(cfg, world(faults=["error"], fault_chance=0.005))
    meta, kept = saved(cfg)
    assert int(kept.count) <= meta["iterations"]


def test_a_late_worker_that_does_not_fit_saves_and_stops(tmp_path):
    def misfit(pool):
        said = {**pool._reception.agreed.said, "obs_dim": 99}
        pool._reception.hello(pool.slots[1], said)

    cfg = config(tmp_path)
    with pytest.raises(observer.StoppedError, match="same packages"):
        train(cfg, at=200, then=misfit)
    meta, kept = saved(cfg)
    assert meta["env_steps"] >= 200
    assert int(kept.count) <= meta["iterations"]


def test_a_stop_ends_an_evaluation_which_is_played_when_the_run_goes_on(
    tmp_path, monkeypatch
):
    cfg = config(tmp_path, total_steps=200, bridge={"workers": 1})

    def asked(*args):
        interrupt(None)
        return greedy(*args)

    with monkeypatch.context() as patch:
        patch.setattr(bridge_runner, "greedy", asked)
        with pytest.raises(KeyboardInterrupt):
            train(cfg)
    assert [row["split"] for row in rows(cfg)].count("test") == 0
    train(dataclasses.replace(cfg, resume=True))
    found = rows(cfg)
    assert (found[-1]["split"], found[-1]["episodes"]) == ("test", 4)
    assert found[-1]["env_steps"] == found[-2]["env_steps"]


def test_failures_of_workers_are_kept_in_the_run_directory(tmp_path):
    cfg = config(tmp_path, bridge={"workers": 1})
    with pytest.raises(observer.StoppedError, match="every worker fails in the same"):
        train(cfg, world(faults=["crash"], fault_chance=1.0))
    kept = (tmp_path / rundir.WORKERS).read_text()
    assert kept.startswith("worker 0: RuntimeError: the game's client crashed")
    assert "scripted.py" in kept


@pytest.mark.parametrize(
    "algo",
    ["mappo", "pqn_qmix", pytest.param("pqn_acorm", marks=pytest.mark.slow)],
)
def test_runs_on_fresh_blocks(tmp_path, algo):
    cfg = config(
        tmp_path,
        algo,
        total_steps=1200,  # pre-training in
        train={
            "worlds": 8,
            "steps_per_update": 96,
            "warmup_steps": None,
            "seeds_by": "map",
            "host_devices": 1,
            "seeds_together": None,
        },
    )
    train(cfg, world(**FAULTS))
    assert sum_of_updates(rows(cfg)) >= 2


def composed(run_dir, *more):
    words = ["algo=iql", "env=scripted", "run=debug", f"run_dir={run_dir}"]
    words += ["algo.role.hidden=8", "bridge.workers=2", *more]
    return resume.resolve(compose.composed(words))


@pytest.mark.slow
def test_a_plan_is_printed_and_nothing_is_written(tmp_path, capsys):
    command.train(composed(tmp_path / "run", "sweep.plan_only=true"))
    told = capsys.readouterr().out
    assert told.startswith("iql on scripted: 1 seed, ") and "bridge.workers=2" in told
    assert not (tmp_path / "run").exists()


def test_the_command_line_trains_evaluates_and_resumes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(session, "draw", lambda _: None)
    short = ["total_steps=400", "log_every=200", "eval.every=200", "eval.episodes=4"]
    command.train(composed(tmp_path / "run", *short, "checkpoint.every=200"))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    workers = summary["bridge"]["workers"]
    assert [len(one["seeds"]) for one in workers] == [1, 1]
    assert workers[0]["game_version"] == "scripted"
    cfg = rundir.load_config(tmp_path / "run")
    outcomes, more = evaluate.play(cfg, Games(5, 0), None)
    assert outcomes.length.shape == (1, 5) and (outcomes.length > 0).all()
    assert "bridge" in more
    words = [f"run_dir={cfg.run_dir}", "bridge.workers=1", "python=other"]
    changed = evaluate._changed(cfg, cli.options(evaluate.OPTIONS, words)).bridge
    assert (changed["workers"], changed["python"]) == (1, "other")
    command.train(composed(cfg.run_dir, *short[1:], "total_steps=600", "resume=true"))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    again = [one["seeds"][0] for one in summary["bridge"]["workers"]]
    assert not {one["seeds"][0] for one in workers}.intersection(again)


def test_a_resumed_run_takes_keys_of_the_bridge(tmp_path, capsys):
    """Without naming the world again, whose own keys stay as they were."""
    run_dir = tmp_path / "run"
    rundir.create(composed(run_dir, "env.n_agents=2", "bridge.workers=1"))
    words = [f"run_dir={run_dir}", "resume=true", "bridge.workers=3"]
    found = []
    cli.launch(found.append, words)
    assert found[0].bridge["workers"] == 3
    assert found[0].env["n_agents"] == 2
    with pytest.raises(SystemExit):
        cli.launch(found.append, [*words, "env.n_agents=3"])
    assert "env.n_agents: stored 2, now 3" in capsys.readouterr().err


def test_a_world_of_before_has_the_keys_of_then(tmp_path):
    rundir.create(composed(tmp_path / "run"))
    file = tmp_path / "run" / rundir.CONFIG
    values = yaml.safe_load(file.read_text())
    del values["env"]["reset_chance"]
    file.write_text(yaml.safe_dump(values))
    assert rundir.load(tmp_path / "run")["env"]["reset_chance"] == 0.0


def test_an_evaluation_takes_keys_of_the_bridge(tmp_path):
    cfg = composed(tmp_path / "run", "bridge.record=episodes")
    words = ["run_dir=x", "bridge.workers=1", "bridge.key_file=null"]
    asked = evaluate._changed(cfg, cli.options(evaluate.OPTIONS, words)).bridge
    assert asked == {**cfg.bridge, "workers": 1}
    native = dataclasses.replace(cfg, bridge={})
    for run, key, message in (
        (cfg, "worker", r"bridge\.worker: .*'bridge\.workers'"),
        (cfg, "record", r"bridge\.record: .*known"),
        (native, "workers", r"bridge\.workers: .*no worker processes"),
    ):
        options = cli.options(evaluate.OPTIONS, ["run_dir=x", f"bridge.{key}=1"])
        with pytest.raises(ConfigError, match=message):
            evaluate._changed(run, options)


@pytest.mark.starcraft
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["env.map=9m"], "got '9m'; smac plays"),
        (["env.game_version=9.9.9"], "pysc2 does not know"),
        (["env.game_version=4.6.2"], "Base69232; installed"),
        (["env=smacv2", "env.map=3m"], "10gen_protoss"),
    ],
)
def test_what_the_game_lacks_is_said(tmp_path, words, message):
    """Needs what ``test_starcraft`` needs."""
    python = os.environ.get("ROLEMARL_SC2_PYTHON")
    words = ["env=smac", *words, f"bridge.python={python or sys.executable}"]
    with pytest.raises(ConfigError, match=message):
        command.train(composed(tmp_path / "run", *words))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seeds=2"], "seeds: got 2"),
        (["sweep.hypers.lr=[1e-3,2e-3]"], r"sweep\.hypers: got lr; allowed .* none"),
        (["env.broken=true"], "broken, as asked for"),
        (["eval.every=1500"], r"eval\.every"),
        (["bridge.workers=0"], r"bridge\.workers"),
        (["bridge.listen=tcp://0.0.0.0:5"], "other hosts"),
        (["env=smac", "bridge.step_deadline_s=10"], "sc2_timeout_s"),
        (["env=smac"], "pysc2|StarCraft"),
        (["env=gymma", "env.id=Nothing-v0", "env.imports=[]"], "Nothing"),
        (["env=gymma", "env.imports=[no_such_package]"], "no_such_package"),
    ],
)
def test_bad_input_is_refused_and_nothing_written(
    tmp_path, words, message, monkeypatch
):
    monkeypatch.setenv("SC2PATH", str(tmp_path / "no-game"))
    with pytest.raises(ConfigError, match=message):
        command.train(composed(tmp_path / "run", *words))
    assert not (tmp_path / "run").exists()
