"""Studies: what is run, what is kept, and which part of the results they own."""

import json
import re
import shutil
from pathlib import Path

import pytest
from support import REPO

from experiments import reproduce
from experiments.door import compose, resume
from experiments.studies import processes, results, study
from experiments.studies.study import Run
from rolemarl_jax import learners
from rolemarl_jax.config import ConfigError, build
from rolemarl_jax.disk import rundir
from rolemarl_jax.report import findings, lines, loggers, summary

OTHERS = sorted(
    {path.stem for path in study.FOLDER.glob("*.yaml")} - {"smax_3m"}  # the largest
)
TINY = """
title: Two on a grid
note: A note.
measure: return
also: [role/influence, episode_length]
seeds: 3
overrides: [run=debug]
worlds:
  - {env: pac_men, total_steps: 600, overrides: [env.dots=2]}
algos:
  - {algo: vdn, overrides: [seeds=2], smoke: []}
  - {algo: iql, overrides: [], smoke: [total_steps=300]}
smoke: [total_steps=400]
"""
WORLDS = ("pac_men", "windy_maze")


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "FOLDER", tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)


class Ended:
    """A process that ends after some looks at it, or when it is asked to stop."""

    def __init__(self, status, looks=0):
        self.status, self.looks, self.signals = status, looks, []

    def poll(self):
        self.looks -= 1
        return None if self.looks >= 0 else self.status

    def send_signal(self, number):
        self.signals.append(number)
        self.looks, self.status = 0, 128 + number


class Stub:
    """Leaves what a run leaves; ``statuses`` are its exit statuses by algorithm."""

    def __init__(self, **statuses):
        self.statuses, self.calls = statuses, []

    def __call__(self, task):
        self.calls.append(task.arguments)
        return Ended(self.made(task.arguments))

    def made(self, arguments):
        cfg = resume.resolve(compose.composed(arguments))
        folder = rundir.create(cfg)
        status = self.statuses.get(cfg.algo["name"], 0)
        if status == 130:
            (folder / "checkpoints" / "64").mkdir(parents=True)
        if status == 0:
            self.finish(cfg, folder)
        return status

    def finish(self, cfg, folder):
        rows = [
            {"seed": seed, "env_steps": steps, "split": "test", "return": 1.0 + seed}
            | {"episode_length": float("nan") if seed == 1 else 4.0 + seed / 2}
            for seed in range(cfg.seeds)
            for steps in (100, cfg.total_steps)
        ]
        with_loss = [{**row, "split": "train", "td": 1.0} for row in rows]
        logger = loggers.jsonl(folder / "metrics.jsonl")
        logger.write([{"win_rate": 0.0, "updates": 1, **r} for r in rows + with_loss])
        logger.close()
        summary.write(folder, findings.summarise(cfg, rows, {}))


def go(stub, *options):
    reproduce.main(["study=tiny", "docs=docs", *options], stub)


@pytest.mark.usefixtures("tiny")
def test_runs_are_made_once_and_tabulated(tmp_path):
    stub = Stub()
    go(stub)
    assert [call[0] for call in stub.calls] == ["algo=vdn", "algo=iql"]
    folder = tmp_path / "runs/studies/tiny/paper/pac_men"
    stored = rundir.load(folder / "vdn")
    assert (stored["seeds"], stored["total_steps"], stored["env"]["dots"]) == (
        2,
        600,
        2,
    )
    text = (tmp_path / "docs" / "results.md").read_text()
    assert "## Two on a grid\n\nA note.\n\n### pac_men\n" in text
    # Seeds have returned 1, 2 (and 3), of which four or fewer none is trimmed.
    assert "| vdn | 1.50 [1.00, 2.00] | 2 | 600 |" in text
    assert "| iql | 2.00 [" in text
    # The column that no evaluation has, and the one that two of three seeds know.
    assert "| algo | influence | episode_length |" in text
    assert "| vdn | - | 4.00 |\n| iql | - | 4.50 [4.00, 5.00] |" in text
    planned = study.runs(study.load("tiny"), folder.parent, tmp_path, "paper")
    assert results.besides(["role/influence"], planned) is None
    assert (tmp_path / "docs/results/tiny-pac_men.png").is_file()
    again = Stub()
    go(again)
    assert again.calls == []


@pytest.mark.usefixtures("tiny")
def test_a_stopped_run_is_resumed_and_a_failed_one_does_not_stop_the_rest(tmp_path):
    with pytest.raises(SystemExit) as stopped:
        go(Stub(vdn=130))
    assert stopped.value.code == 130
    text = (tmp_path / "docs" / "results.md").read_text()
    assert text.count("not finished") == 2
    second = Stub(vdn=1)
    with pytest.raises(SystemExit) as failed:
        go(second)
    assert failed.value.code == 1
    assert [call[-1] == "resume=true" for call in second.calls] == [True, False]
    # With or without a checkpoint: a run without one begins anew.
    folder = tmp_path / "runs/studies/tiny/paper/pac_men/vdn"
    (folder / "checkpoints" / "64").rmdir()
    third = Stub()
    go(third)
    assert [call[-1] for call in third.calls] == ["resume=true"]


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("less", [{"seeds": 1}, {"env_steps": 599}])
def test_a_run_some_of_whose_seeds_are_missing_goes_on(tmp_path, less):
    """In its folder, or among the results that were kept."""
    go(Stub())
    folder = tmp_path / "runs/studies/tiny/paper/pac_men/vdn"
    kept = tmp_path / "docs/results/tiny/pac_men/vdn"
    for place in (folder, kept):
        told = json.loads((place / "summary.json").read_text())
        summary.write(place, told | less)
        stub = Stub()
        go(stub)
        assert [call[0] for call in stub.calls] == ["algo=vdn"]
        shutil.rmtree(folder)


@pytest.mark.usefixtures("tiny")
def test_a_damaged_run_does_not_hide_the_others(tmp_path, capsys):
    go(Stub())
    folder = tmp_path / "runs/studies/tiny/paper/pac_men"
    (folder / "vdn" / "config.yaml").write_text("algo: [")
    shutil.rmtree(folder / "iql")
    shutil.rmtree(tmp_path / "docs" / "results" / "tiny" / "pac_men" / "iql")
    stub = Stub()
    with pytest.raises(SystemExit) as ended:
        go(stub)
    assert ended.value.code == 1
    assert [call[0] for call in stub.calls] == ["algo=iql"]
    told = capsys.readouterr().out
    assert "0 finished, 0 begun, 1 damaged" in told
    assert "vdn is left out: run_dir: " in told


@pytest.mark.usefixtures("tiny")
def test_a_study_in_pieces(tmp_path):
    """Results that were kept count in another checkout, unless made otherwise."""
    go(Stub(), "algos=iql")
    text = (tmp_path / "docs" / "results.md").read_text()
    assert "| iql | 2.00 [" in text and "| vdn | not finished |" in text
    shutil.rmtree(tmp_path / "runs")
    second = Stub()
    go(second)
    assert [call[0] for call in second.calls] == ["algo=vdn"]
    assert (tmp_path / "docs" / "results.md").read_text().count("not finished") == 0
    rows = lines.read(tmp_path / "docs/results/tiny/pac_men/iql/metrics.jsonl")
    assert {row["split"] for row in rows} == {"test"}
    shutil.rmtree(tmp_path / "runs")
    config = tmp_path / "docs/results/tiny/pac_men/iql/config.yaml"
    text = config.read_text()
    config.write_text(re.sub("role_episodes: .*", "role_episodes: 0", text))
    looked_on = Stub()  # who looks at roles changes nothing that is learnt
    go(looked_on)
    assert looked_on.calls == [] and config.read_text() != text
    (tmp_path / "tiny.yaml").write_text(TINY.replace("dots=2", "dots=3"))
    third = Stub()
    go(third)
    assert [call[0] for call in third.calls] == ["algo=vdn", "algo=iql"]


@pytest.mark.usefixtures("tiny")
def test_smoke_keeps_to_its_own_folder(tmp_path):
    stub = Stub()
    reproduce.main(["study=tiny", "scale=smoke"], stub)
    assert [call[3] for call in stub.calls] == ["total_steps=400", "total_steps=300"]
    assert (tmp_path / "runs/studies/tiny/smoke/results.md").is_file()
    assert not (tmp_path / "docs").exists()


@pytest.mark.usefixtures("tiny")
def test_smoke_takes_each_algorithm_and_each_world_once(tmp_path):
    worlds = [f"{{env: {env}, total_steps: 600, overrides: []}}" for env in WORLDS]
    text = re.sub("  - {env.*}", "\n".join(f"  - {one}" for one in worlds), TINY)
    (tmp_path / "tiny.yaml").write_text(text)
    (tmp_path / "later.yaml").write_text(text.replace("algo: iql", "algo: qmix"))

    def made(*options):
        stub = Stub()
        asked = ["study=all", "scale=smoke", f"runs=r{len(options)}", *options]
        reproduce.main(asked, stub)
        return [(call[0], call[1]) for call in stub.calls]

    vdn, iql, qmix = "algo=vdn", "algo=iql", "algo=qmix"
    first, second = (f"env={env}" for env in WORLDS)
    later = [(vdn, first), (qmix, first), (vdn, second)]
    assert made() == [*later, (vdn, first), (iql, first), (vdn, second)]
    assert made("algos=[iql]") == [(iql, first), (iql, second)]


@pytest.mark.usefixtures("tiny")
def test_results_of_another_configuration_are_not_taken_for_these(tmp_path, capsys):
    go(Stub())
    (tmp_path / "tiny.yaml").write_text(TINY.replace("dots=2", "dots=3"))
    with pytest.raises(SystemExit) as error:
        go(Stub())
    assert error.value.code == 2
    assert "env.dots: stored 2, now 3" in capsys.readouterr().err


def tasks(*names):
    return [processes.Task(name, made(Path("runs", name)), ()) for name in names]


def made(folder):
    return Run("world", folder.name, folder, folder, ())


def test_as_many_as_asked_run_at_once_and_the_first_to_end_is_told_first():
    looks, live, lines = {"a": 9, "b": 1, "c": 1}, [], []

    def start(task):
        live.append(task.label)
        return Ended(int(task.label == "c"), looks[task.label])

    ended = processes.side_by_side(tasks("a", "b", "c"), start, 2, lines.append)
    first = next(ended)
    assert (first[0].label, first[1], live) == ("b", 0, ["a", "b"])
    assert [(task.label, status) for task, status in ended] == [("c", 1), ("a", 0)]
    assert lines == [
        *("a", "b", "b: finished", "c"),
        *("c: failed, status 1; see runs/c.log", "a: finished"),
    ]


@pytest.mark.parametrize("names", ["ab", "abc"])
@pytest.mark.parametrize("by_hand", [False, True])
def test_all_are_stopped_together_and_no_more_are_begun(by_hand, names, monkeypatch):
    """Whether this process is asked to, or one of the runs was."""
    children = {}

    def start(task):
        children[task.label] = Ended(143, 2) if task.label == "b" else Ended(0, 99)
        return children[task.label]

    def pause(_):
        if by_hand:
            monkeypatch.setattr(processes.time, "sleep", lambda _: None)
            raise KeyboardInterrupt

    monkeypatch.setattr(processes.time, "sleep", pause)
    monkeypatch.setattr(processes.os, "isatty", lambda _: False)
    ended = list(processes.side_by_side(tasks(*names), start, 2, [].append))
    assert sorted(children) == ["a", "b"]
    told = [children[name].signals for name in "ab"]
    assert told == ([[2], [2]] if by_hand else [[15], []])
    assert {status for _, status in ended} == {130 if by_hand else 143}


@pytest.mark.usefixtures("tiny")
def test_all_studies_in_one_command(tmp_path):
    (tmp_path / "later.yaml").write_text(TINY.replace("algo: iql", "algo: qmix"))
    stub = Stub()
    reproduce.main(["study=all", "docs=docs", "jobs=2", "algos=[qmix,vdn]"], stub)
    assert [call[0] for call in stub.calls] == ["algo=vdn", "algo=qmix", "algo=vdn"]
    text = (tmp_path / "docs" / "results.md").read_text()
    assert text.count("## Two on a grid") == 2


def test_studies_own_their_sections():
    one = results.replaced("# Results\n", "a", "old a")
    both = results.replaced(one, "b", "old b")
    new = results.replaced(both, "a", "new a")
    assert new == both.replace("old a", "new a") and "old b" in new
    assert new.count("<!-- study a -->") == new.count("<!-- end of study a -->") == 1
    with pytest.raises(ConfigError, match="needs both"):
        results.replaced(new.replace("<!-- end of study b -->", ""), "b", "x")


def test_win_rates_have_three_digits(tmp_path):
    found = {"iqm": 0.25, "low": 0.125, "high": 0.5}
    facts = {"seeds": 5, "env_steps": 300000, "commit": "0123456789ab+changes"}
    record = {"last_three": {"win_rate": found}, "device": "cpu x 1", **facts}
    (tmp_path / "summary.json").write_text(json.dumps(record))
    text = results.table("win_rate", [Run("w", "acorm", tmp_path, tmp_path, ())])
    row = (
        "| acorm | 0.250 [0.125, 0.500] | 5 | 300,000 | 0123456789+changes | cpu x 1 |"
    )
    assert text.splitlines()[-1] == row


# What scale=smoke adds comes last, so it holds all of the other scale too.
@pytest.mark.parametrize(
    "scale", ["smoke", pytest.param("paper", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "name", ["smax_3m", *(pytest.param(x, marks=pytest.mark.slow) for x in OTHERS)]
)
def test_every_study_can_be_composed(name, scale, tmp_path):
    planned = study.runs(study.load(name), tmp_path, tmp_path / "kept", scale)
    assert len({run.folder for run in planned}) == len(planned)
    for run in planned:
        resume.resolve(compose.composed(run.arguments))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["study=tiny2"], "study: got 'tiny2'; known: tiny; did you mean 'tiny'?"),
        (["study=tiny", "scale=papers"], "scale: got 'papers'; known: paper, smoke"),
        ([], "study: missing"),
        (["study=tiny", "jobs=0"], "jobs: got 0; allowed: 1 to 2147483647"),
        (["study=tiny", "jobs=two"], "jobs: got 'two'; allowed: 1 to 2147483647"),
        (["study=tiny", "algos=vdm"], "algos: got 'vdm'; known: iql, vdn; did you"),
        (["study=tiny", "worlds=3m"], "worlds: got '3m'; known: pac_men"),
        (["study=bad"], "study.bad.measure: got 'loss'"),
    ],
)
@pytest.mark.usefixtures("tiny")
def test_faults_are_named(options, message, tmp_path, capsys):
    if options == ["study=bad"]:
        bad = TINY.replace("measure: return", "measure: loss")
        (tmp_path / "bad.yaml").write_text(bad)
    with pytest.raises(SystemExit) as error:
        reproduce.main(options, Stub())
    assert error.value.code == 2 and message in capsys.readouterr().err


def test_kept_configurations_are_those_of_today():
    """Keys that came later have the values that runs of before had."""
    kept = sorted((REPO / "docs" / "results").glob("*/*/*/config.yaml"))
    assert kept
    for path in kept:
        cfg = rundir.load_config(path.parent)
        build(learners.module_of(cfg.algo).Config, cfg.algo, "algo")


# Made before a default was corrected (CHANGELOG, "Numbers change"); to be made again.
ELDER = {
    "grids": set(),
    "smax_3m": set(),
    "smax_harder": set(),
    # On MMM2 alone.
    "replay_free": {"pqn_qmix", "pqn_roma", "pqn_eoi"},
    "replay_free_ablations": set(),
    "roles": set(),
}


@pytest.mark.parametrize("name", ELDER)
def test_what_is_kept_is_not_made_again(name, tmp_path):
    """Defaults that came later leave what a finished run learned as it was."""
    found, kept = study.load(name), REPO / "docs" / "results" / name
    runs = study.runs(found, tmp_path, kept, "paper")
    there = [(run.algo, study.standing(run).stage) for run in runs if run.kept.is_dir()]
    assert {stage for _, stage in there} <= {"finished", "missing"}
    assert {algo for algo, stage in there if stage == "missing"} == ELDER[name]
