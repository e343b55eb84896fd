"""One seed of a run, shipped: it acts as it did, and is no run that goes on."""

import json
import re
import shutil
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

import envs
from experiments import evaluate, release
from experiments.door import compose, resume
from rolemarl_jax import members
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import checkpoint, lock, rundir
from rolemarl_jax.learners import make_learner
from rolemarl_jax.program.program import initial_learner
from rolemarl_jax.report import findings, lines, loggers, summary
from rolemarl_jax.run import stored, warm

SCORES = {4: 3.0, 5: 1.0, 6: 2.0}  # of the seeds; the last is the median


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A finished run of three seeds of EOI, which keeps a classifier, and its world."""
    folder = tmp_path_factory.mktemp("runs") / "a"
    asked = ["algo=eoi", "env=smax", "run=debug", "seeds=3", "seed=4"]
    cfg = resume.resolve(compose.composed([*asked, f"run_dir={folder}"]))
    rundir.create(cfg)
    rows = [
        {"seed": seed, "env_steps": 64, "split": split, "return": score}
        for seed, score in SCORES.items()
        for split in ("train", "test")
    ]
    rows = [{**row, "role/switching": float("nan")} for row in rows]
    logger = loggers.jsonl(folder / rundir.METRICS)
    logger.write(rows)
    logger.close()
    made = findings.summarise(cfg, rows, {"steps_per_second": 7.0})
    summary.write(folder, made | {"device": "a card", "commit": "abc"})
    env = envs.make_compiled(cfg.env)
    learner = make_learner(cfg.algo, env.spec)
    ids, _ = members.arrays(cfg, 3)
    states = jax.vmap(partial(initial_learner, learner))(ids)
    checkpoint.save(folder / "checkpoints", 64, {"learner": states}, {}, 1)
    return folder, learner, states, env


@pytest.fixture(scope="module")
def shipped(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("released") / "b"
    release.main([f"run_dir={source[0]}", f"out={out}"])
    return out


def test_the_median_seed_is_there_without_its_optimisers(source, shipped):
    _, learner, states, _ = source
    names = ["config.yaml", "metrics.jsonl", "parameters", "summary.json"]
    assert sorted(path.name for path in shipped.iterdir()) == names
    cfg = rundir.load_config(shipped)
    assert (cfg.seed, cfg.seeds) == (6, 1)
    found = stored.load_states(cfg, learner).state["learner"]
    own = jax.tree.map(lambda x: x[2:3], states)
    jax.tree.map(np.testing.assert_array_equal, found, own._replace(opt={}))
    assert found.params and found.opt == {}
    texts = [x.read_bytes() for x in (shipped / "parameters").rglob("*") if x.is_file()]
    assert texts and not any(str(shipped.parent).encode() in text for text in texts)
    assert '"role/switching": null' in (shipped / "metrics.jsonl").read_text()
    rows = lines.read(shipped / "metrics.jsonl")
    assert [(row["seed"], row["split"]) for row in rows] == [(6, "test")]
    told = summary.read(shipped)
    assert (told.seeds, told.device, told.commit) == (1, "a card", "abc")
    assert told.last_three["return"].value == 2.0


def test_it_plays_as_in_the_run(source, shipped):
    folder, *_ = source
    games = stored.Games(3, seed=1)
    whole, _ = evaluate.play(rundir.load_config(folder), games, None)
    alone, _ = evaluate.play(rundir.load_config(shipped), games, None)
    np.testing.assert_array_equal(alone.ret[0], whole.ret[2])
    assert not np.array_equal(whole.ret[2], whole.ret[0])


def test_a_run_begins_with_it_and_none_goes_on(source, shipped, tmp_path):
    _, learner, states, env = source
    asked = [f"init_from={shipped}", "algo=eoi", "env=smax", f"run_dir={tmp_path}"]
    cfg = resume.resolve(compose.composed(asked))
    begun = initial_learner(warm.begun(cfg, learner, env.spec), np.int32(0))
    own = jax.tree.map(lambda x: x[2], states.params)
    jax.tree.map(np.testing.assert_array_equal, begun.params, own)
    for words, message in (
        (["resume=true"], "was released, without what training needs"),
        ([], "holds a run already"),
    ):
        with pytest.raises(ConfigError, match=message):
            resume.resolve(compose.composed([*words, f"run_dir={shipped}"]))


def test_a_seed_by_choice(source, tmp_path, capsys):
    release.main([f"run_dir={source[0]}", f"out={tmp_path / 'c'}", "seed=5"])
    assert "c: seed 5" in capsys.readouterr().out
    assert rundir.load_config(tmp_path / "c").seed == 5


def shortened(source, folder, cut):
    """A copy of the run whose summary something changed."""
    shutil.copytree(source[0], folder)
    told = json.loads((folder / "summary.json").read_text())
    cut(told)
    summary.write(folder, told)
    return folder


def test_of_two_seeds_the_better_one(source, tmp_path, capsys):
    """Their configuration is that of three: only their choice is of interest."""
    run = shortened(source, tmp_path / "two", lambda told: told["per_seed"].pop("6"))
    release.main([f"run_dir={run}", f"out={tmp_path / 'one'}"])
    assert "seed 4 (best)" in capsys.readouterr().out


def test_a_run_that_lacks_seeds_has_no_median(source, tmp_path, capsys):
    run = shortened(source, tmp_path / "two", lambda told: told.update(seeds=2))
    asked = [f"run_dir={run}", f"out={tmp_path / 'one'}"]
    with pytest.raises(SystemExit):
        release.main(asked)
    told = capsys.readouterr().err
    assert "has evaluations of 2 of 3 seeds; finish the run with resume=true" in told
    release.main([*asked, "seed=5"])


def test_a_run_that_cannot_be_written_is_released(source, tmp_path, monkeypatch):
    monkeypatch.setattr(lock.os, "access", lambda path, _: Path(path) != source[0])
    monkeypatch.setattr(lock, "held", lambda *_: pytest.fail("written"))
    release.main([f"run_dir={source[0]}", f"out={tmp_path / 'one'}"])
    assert summary.read(tmp_path / "one").seeds == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["out={a}"], "out: '.*' exists; allowed: a new or an empty folder"),
        (["out={b}", "seed=3"], "seed: got 3; allowed: 4 to 6"),
        (["out={b}/x*"], r"out: got a path with \*"),
    ],
)
def test_what_is_refused(words, message, source, tmp_path, capsys):
    folder = source[0]
    known = {"a": folder, "b": tmp_path / "b"}
    with pytest.raises(SystemExit) as stop:
        release.main([f"run_dir={folder}", *(word.format(**known) for word in words)])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not known["b"].exists()


@pytest.mark.parametrize(
    ("missing", "message"),
    [("summary.json", "finish the run"), ("checkpoints", "no checkpoint in")],
)
def test_runs_that_have_not_ended(missing, message, source, tmp_path, capsys):
    folder = tmp_path / "d"
    shutil.copytree(source[0], folder, ignore=shutil.ignore_patterns(missing))
    with pytest.raises(SystemExit) as stop:
        release.main([f"run_dir={folder}", f"out={tmp_path / 'e'}"])
    assert stop.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "e").exists()
