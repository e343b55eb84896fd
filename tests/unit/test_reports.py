"""The plot, report and table commands, on a run made by hand."""

import csv
import math
import re

import pytest

from experiments import (
    evaluate,
    leaderboard,
    plot,
    release,
    render,
    report,
    reproduce,
    summarise,
    table,
)
from experiments.bench import __main__ as bench
from experiments.door import compose, devices, resume
from rolemarl_jax.disk import rundir
from rolemarl_jax.report import findings, gather, lines, loggers, page, summary


@pytest.fixture
def make_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(name, *arguments):
        cfg = resume.resolve(compose.composed([f"run_dir={name}", *arguments]))
        folder = rundir.create(cfg)
        rows = [
            {
                "seed": seed,
                "env_steps": steps,
                "split": split,
                "updates": steps,
                "return": float(steps + seed),
                "win_rate": 0.5,
                "td": 1.0,
            }
            for seed in (0, 1)
            for steps in (10, 20)
            for split in ("train", "test")
        ]
        logger = loggers.jsonl(folder / "metrics.jsonl")
        logger.write(rows)
        logger.close()
        summary.write(folder, findings.summarise(cfg, rows, {"steps_per_second": 7.0}))
        return folder

    return make


def test_broken_runs_are_named_and_the_others_drawn(make_run, tmp_path, capsys):
    make_run("a", "algo=vdn")
    (make_run("b", "algo=vdn") / "config.yaml").write_text("algo: [")
    (make_run("c", "algo=vdn") / "metrics.jsonl").unlink()
    (tmp_path / "d").mkdir()
    with pytest.raises(SystemExit) as ended:
        plot.main(["runs=[a,b,c,d]", "out=some.png"])
    assert ended.value.code == 1 and (tmp_path / "some.png").stat().st_size > 5000
    told = capsys.readouterr()
    assert told.out == "some.png\n"
    head, *told_lines = told.err.splitlines()
    assert head == "error: 3 of 4 runs left out" and len(told_lines) == 3
    assert all(f"'{name}" in line for name, line in zip("bcd", told_lines, strict=True))
    with pytest.raises(SystemExit) as ended:
        plot.main(["runs=[b,d]", "out=none.png"])
    assert ended.value.code == 2 and not (tmp_path / "none.png").exists()


def test_a_page_without_a_summary_that_can_be_read(make_run):
    folder = make_run("a", "algo=vdn")
    (folder / "summary.json").write_text('{"seeds": ')
    (folder / "config.yaml").write_text(
        (folder / "config.yaml").read_text().replace("name: vdn", "named: vdn")
    )
    text = page.html(folder)
    assert "unnamed on smax" in text and "summary.json&#x27; is damaged" in text


def test_plot_command(make_run, tmp_path, capsys):
    make_run("a", "algo=vdn")
    make_run("b", "algo=qmix")
    plot.main(["runs=[a,b]", "out=x/both.png"])
    assert (tmp_path / "x" / "both.png").stat().st_size > 5000
    for wrong in (["runs=[]"], ["runs=a", "out=a.jpg"], ["runs=nope"], ["run=a"], []):
        with pytest.raises(SystemExit) as stop:
            plot.main(wrong)
        assert stop.value.code == 2
    assert "runs: missing" in capsys.readouterr().err


def test_report_is_self_contained(make_run, tmp_path):
    run = make_run("a", "algo=vdn")
    before = sorted(path.name for path in run.iterdir())
    report.main(["run_dir=a"])
    written = {path.name for path in run.iterdir()} - set(before)
    assert written == {"report.html"}  # the run's own curves are left as they are
    html = (run / "report.html").read_text()
    assert html.count("data:image/png;base64,") == 1
    assert re.findall(r'(?:src|href)="(?!data:)', html) == []
    assert "<h1>vdn on smax/" in html
    assert "20.50 [20.00, 21.00]" in html
    assert "0.500 [0.500, 0.500]" in html
    assert "range over 2 seeds" in html
    assert "steps per second</td><td>7.00" in html
    assert "total_steps:" in html
    report.main(["run_dir=a", "out=elsewhere/r.html"])
    assert (tmp_path / "elsewhere" / "r.html").is_file()


def test_where_no_episodes_can_be_shown_a_page_says_why(make_run, capsys):
    """The page is written all the same; a wrong option is refused."""
    why = {"a": ("env=smax", "no checkpoint"), "b": ("env=scripted", "replayed here")}
    for name, (world, reason) in why.items():
        run = make_run(name, "algo=vdn", world)
        report.main([f"run_dir={name}"])
        text = (run / "report.html").read_text()
        assert "No episodes are shown." in text and reason in text
        assert 'id="episodes"' not in text and "<h2>Configuration</h2>" in text
    for wrong in ("seed=9", "seed=x", "episodes=-1"):
        with pytest.raises(SystemExit) as stop:
            report.main(["run_dir=a", wrong])
        assert stop.value.code == 2 and wrong.split("=")[0] in capsys.readouterr().err


def test_report_of_an_unfinished_run(make_run):
    run = make_run("a")
    (run / "summary.json").unlink()
    (run / "metrics.jsonl").unlink()
    assert "has not finished" in page.html(run)
    with pytest.raises(SystemExit) as stop:
        report.main(["run_dir=nope"])
    assert stop.value.code == 2


def test_rows_become_a_table(make_run, tmp_path, capsys):
    run = make_run("a")
    more = {"seed": 0, "env_steps": 30, "split": "train", "return": math.nan}
    more |= {"hyper/lr": 1e-3, "loss, odd": 0.1}
    loggers.jsonl(run / "metrics.jsonl").write([more])
    table.main(["run_dir=a", "out=x/metrics.csv"])
    assert capsys.readouterr().out == "x/metrics.csv\n"
    with (tmp_path / "x" / "metrics.csv").open(newline="") as file:
        head, *cells = csv.reader(file)
    labels = ["seed", "env_steps", "split", "hyper/lr"]
    assert head == [*labels, "updates", "return", "win_rate", "td", "loss, odd"]
    assert cells[0] == ["0", "10", "train", "", "10", "10.0", "0.5", "1.0", ""]
    assert cells[-1] == ["0", "30", "train", "0.001", "", "", "", "", "0.1"]
    stored = lines.read(run / "metrics.jsonl")
    assert len(cells) == len(stored) == 9
    assert [float(line[5]) for line in cells[:-1]] == [r["return"] for r in stored[:-1]]


@pytest.mark.parametrize("wrong", [["run_dir=nope"], ["run_dir=b"], ["out=a.csv"]])
def test_no_table_without_rows(wrong, make_run, capsys):
    (make_run("b") / "metrics.jsonl").unlink()
    with pytest.raises(SystemExit) as stop:
        table.main(wrong)
    assert stop.value.code == 2 and "run_dir" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (evaluate, "run_dir=a out={}/x.json"),
        (leaderboard, "runs=a out={}/x.md"),
        (plot, "runs=a out={}/x.png"),
        (release, "run_dir=a out={}"),
        (render, "run_dir=a out={}/x.gif"),
        (report, "run_dir=a out={}/x.html"),
        (reproduce, "study=smax_3m runs={}"),
        (reproduce, "study=smax_3m docs={}"),
        (table, "run_dir=a out={}/x.csv"),
        (table, "runs=a out={}/x.md"),
        (bench, "suite=env out={}/x.json"),
        (bench, "suite=env docs={}/x.md"),
    ],
)
def test_where_nothing_can_be_written_nothing_is_done(
    command, words, make_run, monkeypatch, capsys
):
    make_run("a", "algo=vdn")
    monkeypatch.setattr("sys.argv", ["x", *words.format("a/config.yaml").split()])
    for busy in (f"{devices.__name__}.prepare_devices", f"{gather.__name__}.folders"):
        monkeypatch.setattr(busy, lambda *_: pytest.fail("began"))
    with pytest.raises(SystemExit) as stop:
        command.main()
    told = capsys.readouterr().err
    assert stop.value.code == 2 and "config.yaml' is no directory" in told
    assert re.match("error: (out|runs|docs): got ", told)


def test_a_stopped_run_is_summarised_as_far_as_it_got(make_run, capsys):
    run = make_run("a", "algo=vdn")
    (run / "summary.json").unlink()
    summarise.main(["run_dir=a"])
    told = capsys.readouterr().out
    assert "a: 20 of 300,000 env steps a seed" in told
    assert "win rate: 0.500 [0.500, 0.500] (mean of the last three" in told
    made = summary.read(run)
    assert (made.env_steps, made.device, made.measure) == (20, None, "win_rate")
    assert (run / "curves.png").stat().st_size > 5000
    before = (run / "summary.json").read_text().replace("null", '"here"', 1)
    (run / "summary.json").write_text(before)  # what the run itself wrote stays
    summarise.main(["run_dir=a"])
    assert (run / "summary.json").read_text() == before
    for stale in ("{", before.replace('"seeds": 2', '"seeds": 1')):
        assert stale != before
        (run / "summary.json").write_text(stale)
        summarise.main(["run_dir=a"])
        assert summary.read(run) == made
    (run / "metrics.jsonl").unlink()
    with pytest.raises(SystemExit) as stop:
        summarise.main(["run_dir=a"])
    assert stop.value.code == 2 and "has no metrics.jsonl" in capsys.readouterr().err
