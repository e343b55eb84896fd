"""The page of all algorithms in all worlds."""

import json

import pytest

from experiments import leaderboard as command
from rolemarl_jax.disk import rundir
from rolemarl_jax.report import leaderboard


def interval(value):
    if value is None:
        return {"iqm": None, "low": None, "high": None}
    return {"iqm": value, "low": value - 0.1, "high": value + 0.1}


def finished(folder, algo, value, **over):
    """A run of which its summary alone is read."""
    folder.mkdir(parents=True)
    (folder / rundir.CONFIG).write_text("algo: {}\n")
    told = {
        **{"algo": algo, "env": "smax", "map": "3m", "preset": "default", "seeds": 5},
        **{"env_steps": 1000, "commit": "0123456789abcdef", "device": "cpu"},
        **{"measure": "win_rate", "last_three": {"win_rate": interval(value)}},
    }
    (folder / rundir.SUMMARY).write_text(json.dumps({**told, **over}))


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    finished(folder / "a", "qmix", 0.5)
    finished(folder / "b", "roma", 0.75)
    finished(folder / "c", "roma", 0.9, seeds=2, env_steps=9000)
    finished(folder / "d", "roma", 0.6, preset="paper")
    finished(folder / "e", "vdn", None)
    returned = {"return": interval(7.0), "win_rate": interval(0.0)}
    other = {"env": "pac_men", "map": None, "measure": "return"}
    finished(folder / "f", "qmix", 0.0, last_three=returned, **other)
    return folder


def tables(text):
    """Rows of all tables, without their heads."""
    lines = [line.strip("| ").split("|") for line in text.splitlines() if "|" in line]
    return [[cell.strip() for cell in line] for line in lines if "---" not in line[0]]


def test_best_first_and_most_seeds_across(runs):
    board = leaderboard.read(sorted(str(one) for one in runs.iterdir()))
    assert board.broken == {}
    rows = tables(leaderboard.page(board.entries))
    head, *across = rows[:5]
    assert head == ["algorithm", "pac_men: return", "smax/3m: win rate"]
    assert across == [
        ["qmix", "7.00 [6.90, 7.10]", "0.500 [0.400, 0.600]"],
        ["roma", "-", "0.750 [0.650, 0.850]"],  # of five seeds, not the better two
        ["roma (paper)", "-", "0.600 [0.500, 0.700]"],
        ["vdn", "-", "none"],
    ]
    in_battles = [row[:3] for row in rows[-5:]]
    assert in_battles == [
        ["roma", "0.900 [0.800, 1.000]", "2"],
        ["roma", "0.750 [0.650, 0.850]", "5"],
        ["roma (paper)", "0.600 [0.500, 0.700]", "5"],
        ["qmix", "0.500 [0.400, 0.600]", "5"],
        ["vdn", "none", "5"],
    ]
    assert rows[-2][3:] == ["1,000", "0123456789", "cpu"]


def test_runs_that_are_none_do_not_hide_the_others(runs, tmp_path, capsys):
    (runs / "g").mkdir()
    (runs / "g" / rundir.CONFIG).write_text("algo: {}\n")
    ranking = [{"rank": 1, "hypers": {}, "seeds": [0], "frozen": 0, "last_three": {}}]
    finished(runs / "h", "qmix", 0.5, ranking=ranking)
    finished(runs / "i", "qmix", 0.5)
    (runs / "i" / rundir.SUMMARY).write_text("{")
    out = tmp_path / "page.md"
    with pytest.raises(SystemExit) as ended:
        command.main([f"runs={runs}", f"out={out}"])
    assert ended.value.code == 1
    told = capsys.readouterr().err
    for part in ("g' has no summary yet", "h' swept hyper-parameters", "damaged"):
        assert part in told
    assert "| roma (paper)" in out.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "runs"),
        (["runs={}", "out=x.html"], "out: got 'x.html'; allowed: a name in .md"),
        (["runs={}/g"], "has no summary yet"),
    ],
)
def test_faults_are_named(options, message, runs, capsys):
    (runs / "g").mkdir()
    (runs / "g" / rundir.CONFIG).write_text("algo: {}\n")
    with pytest.raises(SystemExit) as ended:
        command.main([one.format(runs) for one in options])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
