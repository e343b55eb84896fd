"""The summary by hand, and as JSON."""

import json
import math
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest
from support import SPEC

from experiments.door import compose, resume
from rolemarl_jax.disk import rundir
from rolemarl_jax.report import findings, loggers, provenance, stats, summary
from rolemarl_jax.run import observer, session


def row(seed, steps, win, score):
    return {
        "seed": seed,
        "env_steps": steps,
        "split": "test",
        "win_rate": win,
        "return": score,
    }


ROWS = [
    row(1, 10, 0.5, 3.0),
    row(0, 20, 0.25, 2.0),
    row(0, 10, 0.75, 1.0),
    row(1, 20, math.nan, 4.0),
    {"seed": 0, "env_steps": 30, "split": "train", "return": 99.0},
]


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return resume.resolve(compose.composed(["algo=vdn"]))


def test_per_seed_by_hand():
    found = findings.per_seed(ROWS)
    assert list(found) == [0, 1]
    assert found[0]["final"] == {"win_rate": 0.25, "return": 2.0}
    assert found[0]["best"] == {"win_rate": 0.75, "return": 2.0}
    assert math.isnan(found[1]["final"]["win_rate"])
    assert found[1]["best"] == {"win_rate": 0.5, "return": 4.0}


def test_summary_is_complete_and_is_json(cfg, tmp_path):
    speed = {"steps_per_second": 10.0, "compile_seconds": 2.0, "mfu": math.nan}
    made = findings.summarise(cfg, ROWS, speed)
    path = summary.write(tmp_path, made)
    assert json.loads(path.read_text()) == made
    assert (made["algo"], made["seeds"], made["env_steps"]) == ("vdn", 2, 20)
    value, low, high = stats.over_seeds([2.0, 4.0])
    assert (low, high) == (2.0, 4.0)
    assert made["final"]["return"] == {"iqm": value, "low": low, "high": high}
    assert made["final"]["win_rate"]["iqm"] == 0.25
    assert made["per_seed"]["1"]["final"]["win_rate"] is None
    assert (made["steps_per_second"], made["mfu"]) == (10.0, None)
    assert made["versions"]["jax"] and "x" in made["device"]


def test_a_run_without_evaluation_has_empty_results(cfg):
    made = findings.summarise(cfg, [], {})
    assert made["final"]["win_rate"] == {"iqm": None, "low": None, "high": None}
    assert made["seeds"] == made["env_steps"] == 0


def test_what_is_written_is_read(cfg, tmp_path):
    made = findings.summarise(cfg, ROWS, {"mfu": math.nan, "bridge": {"workers": 1}})
    assert summary.read(tmp_path) is None
    summary.write(tmp_path, made)
    found = summary.read(tmp_path)
    assert (found.algo, found.env, found.map) == ("vdn", "smax", made["map"])
    assert (found.seeds, found.env_steps, found.preset) == (2, 20, made["preset"])
    last = made["last_three"]["return"]
    assert found.last_three["return"] == (last["iqm"], last["low"], last["high"])
    assert found.per_seed["0"].best == {"win_rate": 0.75, "return": 2.0}
    assert math.isnan(found.per_seed["1"].final["win_rate"])
    assert (found.ranking, found.frozen) == ((), ())
    assert found.measured == {"mfu": None, "bridge": {"workers": 1}}
    assert (found.device, found.versions) == (made["device"], made["versions"])


def test_older_files_lack_keys_and_are_read():
    made = {"algo": "vdn", "seeds": 1, "env_steps": 5, "speed": 2.0, "device": "cpu"}
    made["final"] = {"win_rate": {"iqm": 0.5, "low": 0.25, "high": None}}
    found = summary.parsed(made)
    value, low, high = found.final["win_rate"]
    assert (value, low) == (0.5, 0.25) and math.isnan(high)
    assert math.isnan(found.last_three["return"].value)
    assert (found.map, found.commit, found.versions) == (None, None, {})
    assert found.measured == {"speed": 2.0}
    assert summary.parsed({}).env_steps == 0


def test_commit_is_gits(repo):
    def git(*arguments):
        command = ["git", *arguments]
        return subprocess.run(command, cwd=repo, capture_output=True, text=True)

    found = provenance.commit.__wrapped__()
    if git("ls-files", "--error-unmatch", "pyproject.toml").returncode:
        assert found is None
    else:
        changed = git("status", "--porcelain", "-uno").stdout.splitlines()
        altered = any(not line[3:].startswith("docs/") for line in changed)
        head = git("rev-parse", "HEAD").stdout.strip()
        assert found == head + "+changes" * altered


def test_a_run_is_of_the_code_that_it_began_with(cfg, monkeypatch):
    """What lies in its folder at the end may be other code."""
    asked = []
    monkeypatch.setattr(provenance, "commit", lambda: asked.append("commit"))

    def play(*_):
        asked.append("play")
        raise observer.StoppedError("enough")

    with pytest.raises(observer.StoppedError):
        session._run(cfg, SimpleNamespace(spec=SPEC), play)
    assert asked == ["commit", "play"]
    monkeypatch.undo()
    before = provenance.commit()
    monkeypatch.setattr(provenance.subprocess, "run", lambda *_, **__: None)
    assert provenance.commit() == before


def test_the_headline_is_one_measure_and_claims_no_interval_of_few_seeds(cfg, tmp_path):
    found = summary.parsed(findings.summarise(cfg, ROWS, {}))
    (told,) = session.told(tmp_path, found).items()
    name, text = told
    assert found.measure == "win_rate" and name == "win rate"
    assert text.endswith("; interquartile mean, range over 2 seeds)")
    lost = [{**row, "win_rate": 0.0} for row in ROWS]
    made = findings.summarise(cfg, lost, {})
    (told,) = session.told(tmp_path, summary.parsed(made)).items()
    assert told[0] == "return" and "no episode was won" in told[1]
    older = {key: value for key, value in made.items() if key != "measure"}
    assert summary.parsed(older).measure == "return"


def test_a_run_is_at_its_end_where_all_seeds_are(cfg):
    cfg = replace(cfg, seeds=2, total_steps=20)
    whole = summary.parsed(findings.summarise(cfg, ROWS, {}))
    assert summary.is_whole(whole, cfg) and not summary.is_whole(None, cfg)
    behind = [row for row in ROWS if row["seed"] == 0 or row["env_steps"] == 10]
    missing = [row for row in ROWS if row["seed"] == 0]
    for rows in (behind, missing):
        found = summary.parsed(findings.summarise(cfg, rows, {}))
        assert not summary.is_whole(found, cfg)
    assert not summary.is_whole(whole, replace(cfg, total_steps=21))


def test_nothing_is_written_where_a_finished_run_had_nothing_left_to_do(cfg):
    cfg = replace(cfg, seeds=2, total_steps=20, resume=True)
    logger = loggers.jsonl(rundir.create(cfg) / rundir.METRICS)
    logger.write([row for row in ROWS if row["split"] == "test"])
    logger.close()
    made = findings.summarise(cfg, ROWS, {"steps_per_second": 7.0})
    path = summary.write(rundir.create(cfg), made | {"commit": "abc"})
    before = path.read_bytes()
    learner = SimpleNamespace(spec=SimpleNamespace(name="probe"))
    session.run(cfg, learner, lambda open_logger, out: None)
    assert path.read_bytes() == before
    path.write_text("{")  # made anew from rows
    session.run(cfg, learner, lambda open_logger, out: None)
    assert summary.read(path.parent).seeds == 2
