"""Runs are found, brought together by what they are, and shown in every form."""

import csv
import json
import math
import os
import re
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import yaml

from experiments import leaderboard, plot, table
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import rundir
from rolemarl_jax.report import (
    canvas,
    curve,
    gather,
    headline,
    loggers,
    names,
    results,
    summary,
)
from rolemarl_jax.report.scores import Asked


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(
        name,
        algo,
        world="smax/3m",
        lr=1e-3,
        rate=0.5,
        seeds=(0,),
        steps=(10, 20),
        **more,
    ):
        splits = more.pop("splits", ("train", "test"))
        env = dict(zip(("name", "map"), world.split("/"), strict=False))
        values = {"name": algo, "lr": lr, **more.pop("keys", {})}
        config = {"algo": values, "env": env, **more}
        parts = {"train": {}, "replay": {}, "eval": {}, "seed": seeds[0]}
        (tmp_path / name).mkdir(parents=True)
        text = yaml.safe_dump({**parts, **config})
        (tmp_path / name / "config.yaml").write_text(text)
        rows = [
            {
                "seed": seed,
                "env_steps": at,
                "split": split,
                "return": float(at + seed),
                "win_rate": rate,
                **({"td/loss": 1.0} if split == "train" else {}),
            }
            for seed in seeds
            for at in steps
            for split in splits
        ]
        loggers.jsonl(tmp_path / name / "metrics.jsonl").write(rows)

    return make


def refused(command, *arguments):
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    return stop.value.code


def test_seeds_of_one_experiment_are_one_curve(make_run):
    make_run("runs/vdn-smax/a", "vdn")
    make_run("runs/vdn-smax/b", "vdn", total_steps=9, seeds=(7,))
    make_run("runs/vdn-smax/c", "vdn", lr=1e-4, seeds=(1,))
    make_run("runs/qmix-smax/a", "qmix")
    found = gather.gather(["runs/vdn-*"]).groups
    assert [(g.label, len(g.runs)) for g in found] == [
        ("vdn lr=0.001", 2),
        ("vdn lr=0.0001", 1),
    ]
    assert {row["seed"] for row in found[0].rows} == {0, 7}
    whole = gather.gather(["runs"], merge="algo").groups
    assert [(g.label, len(g.runs)) for g in whole] == [("qmix", 1), ("vdn", 3)]
    apart = gather.gather(["runs/vdn-smax"], merge="none").groups
    assert [g.label for g in apart] == ["vdn (a)", "vdn (b)", "vdn (c)"]
    named = gather.gather(["runs"], labels=["Q", "V", "slow"]).groups
    assert [g.label for g in named] == ["Q", "V", "slow"]
    with pytest.raises(ConfigError, match=r"labels: got \['Q'\].*vdn lr=0.0001"):
        gather.gather(["runs"], labels=["Q"])
    with pytest.raises(ConfigError, match="matches 0 files and no run"):
        gather.gather(["runs/acorm-*"])


def test_runs_of_other_parts_are_told_by_the_names_of_these(make_run):
    """Their keys differ too, by more than a label has room for."""
    for mixer, keys in {"vdn": {}, "qmix": {"embed": 8, "hidden": 4}}.items():
        for learner, own in {"qmix": {"tau": 0.1}, "pqn": {"epochs": 4}}.items():
            parts = {"learner": learner, "mixer": {"name": mixer, **keys}, **own}
            make_run(f"runs/{mixer}-{learner}", "acorm", keys=parts)
    labels = [group.label for group in gather.gather(["runs"]).groups]
    assert labels == [
        "acorm learner=pqn mixer=qmix",
        "acorm learner=qmix mixer=qmix",
        "acorm learner=pqn mixer=vdn",
        "acorm learner=qmix mixer=vdn",
    ]


def test_a_swept_key_tells_combinations_apart_and_not_runs(make_run):
    def swept(name, *rates):
        make_run(name, "qmix", sweep={"hypers": {"lr": list(rates)}})
        path = Path(name, "metrics.jsonl")
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        with path.open("w") as file:
            for rate in rates:
                file.writelines(
                    json.dumps({**r, "hyper/lr": rate}) + "\n" for r in rows
                )

    swept("a", 1e-3, 2e-3)
    make_run("b", "qmix", lr=7e-4)
    labels = [group.label for group in gather.gather(["a", "b"]).groups]
    assert labels == ["qmix lr=0.001", "qmix lr=0.002", "qmix lr=0.0007"]


def test_worlds_of_one_environment_are_told_apart():
    battle = {"name": "smacv2", "map": "10gen_terran", "units": 5, "enemies": 6}
    teams = {"allies": {"zealot": 3, "marine": 2}, "enemies": {"stalker": 4}}
    known = {
        "smax/3m": {"name": "smax", "map": "3m", "allies": None, "enemies": None},
        "smax/custom_2marine+3zealot_vs_4stalker": {
            **{"name": "smax", "map": "custom"},
            **teams,
        },
        "smacv2/10gen_terran_5_vs_6": battle,
        "gymma/Foraging-8x8-2p-3f-v3": {"name": "gymma", "id": "Foraging-8x8-2p-3f-v3"},
        "pac_men": {"name": "pac_men", "dots": 5},
    }
    assert {name: names.world({"env": env}) for name, env in known.items()} == {
        name: name for name in known
    }


def test_a_seed_counts_once(make_run):
    make_run("a", "vdn", seeds=(0, 1))
    make_run("b", "vdn", total_steps=9, steps=(10, 20, 30))
    found = gather.gather(["a", "b", "a"])
    (group,) = found.groups
    assert "seeds in common" in found.notes[0] and len(found.notes) == 1
    reached = {}
    for row in group.rows:
        reached.setdefault(row["seed"], set()).add(row["env_steps"])
    assert reached == {0: {10, 20, 30}, 1: {10, 20}}


@pytest.mark.parametrize("name", ["a.png", "a.pdf", "a.svg"])
def test_a_name_decides_the_format(name, make_run, tmp_path, capsys):
    make_run("r", "vdn")
    plot.main(["runs=r", f"out={name}"])
    head = (tmp_path / name).read_bytes()[:200]
    assert {"png": b"PNG", "pdf": b"%PDF", "svg": b"<svg"}[name[2:]] in head or (
        name == "a.svg" and b"<?xml" in head
    )
    assert refused(plot, "runs=r", "out=a.jpg") == 2
    assert ".png, .pdf, .svg" in capsys.readouterr().err


def test_any_column_smoothed_and_a_panel_for_each_world(make_run, tmp_path, capsys):
    make_run("a", "vdn", seeds=range(6))
    make_run("b", "vdn", "smax/8m", seeds=range(6))
    make_run("c", "qmix", "smax/8m", seeds=range(6))
    plot.main(["runs=[a,b,c]", "out=two.png", "metric=td/loss", "smooth=2"])
    plot.main(["runs=a", "out=one.png", "metric=[td/loss]"])
    sizes = [
        matplotlib.image.imread(tmp_path / n).shape for n in ("one.png", "two.png")
    ]
    assert sizes[1][1] > sizes[0][1]
    assert refused(plot, "runs=a", "metric=loss") == 2
    told = capsys.readouterr().err
    assert "metric: got 'loss'" in told and "td/loss, win_rate" in told
    assert refused(plot, "runs=[a,b]", "losses=true") == 2
    assert refused(plot, "runs=a", "split=valid") == 2
    assert refused(plot, "runs=a", "smooth=0") == 2


@pytest.mark.parametrize("kind", ["curves", "profile", "improvement", "efficiency"])
def test_names_are_drawn_as_they_stand(kind, make_run, tmp_path, monkeypatch):
    """No formula between two dollars, and no name that a legend leaves out."""
    drawn = []
    monkeypatch.setattr(canvas, "save", lambda figure, out: drawn.append(figure) or out)
    for name in ("x$_$", "_mine"):
        make_run(f"r{name}", name, seeds=range(5))
    out = f"out={tmp_path / 'a.svg'}"
    plot.main(["runs=['rx$_$',r_mine]", f"kind={kind}", out, "title='5$ and 6$_'"])
    drawn[0].savefig(tmp_path / "a.png")  # a formula that is none would fail here
    legends = [text.get_text() for one in drawn[0].legends for text in one.get_texts()]
    axis = [text.get_text() for text in drawn[0].axes[0].get_yticklabels()]
    for name in (r"x\$_\$", " _mine")[1 if kind == "improvement" else 0 :]:
        assert any(text.startswith(name) for text in legends + axis)


def test_a_picture_grows_with_its_legend(make_run, monkeypatch):
    drawn = []
    monkeypatch.setattr(canvas, "save", lambda figure, out: drawn.append(figure) or out)
    for i in range(30):
        make_run(f"many/{i}", f"algorithm_{i}")
    make_run("few/0", "x" * 200)
    for runs in ("few", "many"):
        plot.main([f"runs={runs}", "out=a.png"])
    for figure in drawn:
        figure.draw_without_rendering()
        (axes,), (legend,) = figure.axes, figure.legends
        room = figure.dpi * figure.get_size_inches()
        assert axes.get_window_extent().height > 250
        found = legend.get_window_extent()
        assert found.x0 >= 0 and found.x1 <= room[0] and found.y0 >= 0
    looks = {str(canvas.look(i)) for i in range(42)}
    assert len(looks) == 42 and str(canvas.look(42)) in looks


def test_smoothing_looks_back_over_known_points():
    nan = math.nan
    full = curve.Table(np.arange(4), np.arange(1), np.array([[2.0, nan, 4.0, 9.0]]))
    got = curve.smoothed(full, 2).values[0]
    np.testing.assert_allclose(got, [2.0, nan, 3.0, 6.5])
    np.testing.assert_allclose(curve.smoothed(full, 1).values, full.values)


def test_comparisons_are_drawn_or_refused(make_run, tmp_path, capsys):
    for algo, rate in (("vdn", 0.2), ("qmix", 0.8)):
        for name in ("3m", "8m"):
            make_run(f"{algo}-{name}", algo, f"smax/{name}", rate=rate,
                     seeds=range(5))  # fmt: skip
    for kind in ("profile", "improvement", "efficiency"):
        plot.main(["runs='*-*m'", f"kind={kind}", f"out={kind}.png"])
        assert (tmp_path / f"{kind}.png").stat().st_size > 5000
    assert refused(plot, "runs=vdn-3m", "kind=improvement") == 2
    assert refused(plot, "runs=[vdn-3m,qmix-3m,vdn-8m]", "kind=profile") == 2
    assert "qmix has no numbers in smax/8m" in capsys.readouterr().err
    assert refused(plot, "runs='*-*m'", "kind=profile", "metric=return") == 2
    assert "common scale" in capsys.readouterr().err
    wrong = ("runs=[vdn-3m,qmix-3m]", "kind=improvement", "baseline=iql")
    assert refused(plot, *wrong) == 2
    assert refused(plot, "runs=vdn-3m", "kind=bars") == 2


def test_runs_without_evaluations_are_told(make_run, capsys):
    make_run("a", "vdn", splits=("train",))
    assert refused(plot, "runs=a") == 2
    assert "no evaluation has been made yet; split=train" in capsys.readouterr().err
    plot.main(["runs=a", "split=train"])


def test_what_bands_are_said_to_be():
    assert canvas.note([5, 9]).startswith("IQM over seeds, band: 95 % bootstrap")
    assert "below five seeds" in canvas.note([5, 2])
    assert "95" not in canvas.note([2, 3]) and "range" in canvas.note([2, 1])
    assert canvas.note([1, 1]) == ""


def test_headline_is_the_return_where_nothing_is_ever_won():
    rows = [{"win_rate": 0.0}, {"win_rate": None}, {"win_rate": math.nan}, {}]
    assert headline.measure(rows) == "return"
    assert headline.measure([*rows, {"win_rate": 0.01}]) == "win_rate"


def test_a_seed_has_the_mean_of_its_last_three_known_numbers():
    assert headline.of_seed([9.0, 1.0, 2.0, 3.0]) == 2.0
    assert headline.of_seed([1.0, 2.0, math.nan, 6.0, math.inf]) == 3.0
    assert headline.of_seed(np.array([5.0])) == 5.0
    assert math.isnan(headline.of_seed([])) and math.isnan(headline.of_seed([math.nan]))


def test_tables_by_hand(make_run, tmp_path, capsys):
    make_run("a", "vdn", rate=0.25, seeds=(0, 1))
    make_run("b", "qmix", rate=0.75, seeds=range(6))
    make_run("c", "qmix_grid", "pac_men", rate=0.0, seeds=(3,))
    table.main(["runs=[a,b,c]"])
    head, _, first, second, third, _, note = capsys.readouterr().out.splitlines()
    assert "smax/3m: Win rate (greedy evaluation)" in head and "pac_men: Return" in head
    assert [c.strip() for c in first.split("|")[1:-1]] == [
        *("vdn", "0.250 [0.250, 0.250]", "-", "2"),
    ]
    assert "0.750 [0.750, 0.750]" in second and "| 18.00 " in third
    assert note.endswith(
        "95 % bootstrap interval, of fewer than five seeds their range."
    )
    table.main(["runs=[a,b]", "out=x/t.tex"])
    text = (tmp_path / "x" / "t.tex").read_text()
    assert r"qmix & \textbf{0.750 [0.750, 0.750]} & 6 \\" in text
    assert r"vdn & 0.250 [0.250, 0.250] & 2 \\" in text
    table.main(["runs=[a,b]", "out=t.csv", "metric=return"])
    with (tmp_path / "t.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert lines[0] == {
        **{"label": "vdn", "world": "smax/3m", "metric": "return", "split": "test"},
        **{"seeds": "2", "iqm": "15.5", "low": "15.0", "high": "16.0"},
        "low_high": "range over 2 seeds",
    }
    assert lines[1]["low_high"] == "95 % interval over 6 seeds"
    for wrong in (["runs=a", "run_dir=a"], [], ["runs=a", "out=t.doc"]):
        assert refused(table, *wrong) == 2


def test_a_cell_is_the_mean_of_the_last_three(make_run):
    make_run("a", "vdn", steps=(10, 20, 30, 40, 50))
    (cell,) = results.cells(gather.gather(["a"]).groups, Asked("return"))
    assert (cell.found.value, cell.seeds, cell.text) == (40.0, 1, "40.00")


def test_signs_of_markdown_and_latex_are_escaped(make_run, tmp_path):
    make_run("r", r"a|b^{c}\~")
    for name in ("t.md", "t.tex"):
        table.main(["runs=r", f"out={tmp_path / name}"])
    assert r"| a\|b^{c}" in (tmp_path / "t.md").read_text()
    escaped = r"a|b\^{}\{c\}\textbackslash{}\~{} &"
    assert escaped in (tmp_path / "t.tex").read_text()


def test_tables_of_training_say_so(make_run, capsys):
    make_run("r", "qmix")
    table.main(["runs=r", "split=train"])
    assert "mean of the last three rows of training" in capsys.readouterr().out


def test_a_label_that_is_a_number_can_be_the_baseline(make_run):
    make_run("a", "vdn")
    make_run("b", "qmix")
    plot.main(["runs=[a,b]", "labels=[1,2]", "kind=improvement", "baseline=2"])


def test_a_profile_of_a_single_number(make_run, monkeypatch):
    drawn = []
    monkeypatch.setattr(canvas, "save", lambda figure, out: drawn.append(figure) or out)
    make_run("a", "vdn", rate=0.0)
    plot.main(["runs=a", "kind=profile", "metric=return"])
    low, high = drawn[0].axes[0].lines[0].get_xdata()[[0, -1]]
    assert low < 15 < high


def test_broken_runs_hide_nothing_in_tables(make_run, tmp_path, capsys):
    make_run("a", "vdn")
    (tmp_path / "b").mkdir()
    assert refused(table, "runs=[a,b,c]") == 1
    told = capsys.readouterr()
    assert "| vdn" in told.out and "2 of 3 runs left out" in told.err


def sealed(folder, monkeypatch):
    """As for who may not read a folder; the tests may run as who may read all."""

    def refusing(call, at):
        def wrapped(*given, **more):
            if str(given[at]).startswith(str(folder)):
                raise PermissionError(13, "Permission denied", str(given[at]))
            return call(*given, **more)

        return wrapped

    monkeypatch.setattr(Path, "stat", refusing(Path.stat, 0))
    monkeypatch.setattr(Path, "open", refusing(Path.open, 0))
    monkeypatch.setattr("os.scandir", refusing(os.scandir, 0))


@pytest.mark.parametrize("what", ["runs/b", "runs/b/metrics.jsonl"])
def test_runs_that_may_not_be_read_hide_nothing(what, make_run, monkeypatch, capsys):
    for name in "ab":
        make_run(f"runs/{name}", "vdn", seeds=(ord(name),))
        summary.write(Path("runs", name), {"env_steps": 20, "seeds": 1})
    sealed(what, monkeypatch)
    for command, out in ((table, "x.md"), (plot, "x.png")):
        assert refused(command, "runs=runs", f"out={out}") == 1
        told = capsys.readouterr().err
        assert "1 of 2 runs left out" in told and "runs/b" in told
        assert "cannot be read: [Errno 13] Permission denied" in told
    if what == "runs/b":
        assert refused(leaderboard, "runs=runs") == 1
        told = capsys.readouterr()
        assert "runs/b" in told.err and "| vdn" not in told.err
        with pytest.raises(ConfigError, match=r"'runs/b' cannot be read: .Errno 13"):
            rundir.require_fresh("runs/b")
    assert refused(table, f"run_dir={what[:6]}") == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "words", "told"),
    [
        (plot, "kind=profile smooth=2", "smooth: got 2 .* read by kind=curves"),
        (plot, "kind=profile losses=true", "losses: got True .* read by kind=curves"),
        (plot, "baseline=vdn", "baseline: got 'vdn' .* read by kind=improvement"),
        (plot, "losses=true smooth=3", "smooth: got 3 .* without losses=true"),
        (table, "metric=td run_dir=a", "metric: got 'td' with run_dir; .* by runs="),
        (table, "labels=[b] run_dir=a", "labels: got .* with run_dir"),
        (table, "out=t.md run_dir=a", "out: got 't.md' with run_dir; .* in .csv"),
    ],
)
def test_what_would_be_ignored_is_refused(command, words, told, make_run, capsys):
    make_run("a", "vdn")
    given = words.split() if "run_dir" in words else ["runs=a", *words.split()]
    assert refused(command, *given) == 2
    assert re.search(told, capsys.readouterr().err)


def test_runs_of_different_lengths_are_told(make_run, capsys):
    make_run("a", "vdn", seeds=(0,), total_steps=20)
    make_run("b", "vdn", seeds=(1,), total_steps=40)
    table.main(["runs=[a,b]"])
    assert (
        "note: a (20) and b (40) have different total_steps" in capsys.readouterr().err
    )
    table.main(["runs=[a,b]", "merge=none"])
    assert capsys.readouterr().err == ""


def test_marl_eval_reads_environment_task_algorithm_run_step(make_run, capsys):
    """The layout that its README writes down."""
    make_run("a", "qmix", seeds=(0, 3), steps=(10, 20, 30, 40))
    make_run("b", "acorm", world="windy_maze", rate=math.nan)
    table.main(["runs=[a,b]", "out=all.json"])
    capsys.readouterr()
    with open("all.json", encoding="utf8") as file:
        found = json.load(file)
    assert found.keys() == {"smax", "windy_maze"}
    runs = found["smax"]["3m"]["qmix"]
    assert list(runs) == ["seed_0", "seed_3"]
    run = runs["seed_3"]
    assert list(run) == ["step_1", "step_2", "step_3", "step_4", "absolute_metrics"]
    assert run["step_2"] == {"step_count": 20, "return": [23.0], "win_rate": [0.5]}
    assert run["absolute_metrics"]["return"] == [pytest.approx(33.0)]
    maze = found["windy_maze"]["windy_maze"]["acorm"]["seed_0"]
    assert maze["step_1"] == {"step_count": 10, "return": [10.0]}
    assert refused(table, "runs=a", "out=x.json", "metric=return") == 2
