"""The page of all algorithms in all worlds."""

import json

import pytest
import yaml

from experiments import leaderboard as command
from rolemarl_jax.disk import rundir
from rolemarl_jax.report import leaderboard


def interval(value):
    if value is None:
        return {"iqm": None, "low": None, "high": None}
    return {"iqm": value, "low": value - 0.1, "high": value + 0.1}


BATTLE = {"name": "smax", "map": "3m"}
MAZE = {"name": "windy_maze"}


def finished(folder, algo, value, learner="qmix", env=BATTLE, asked=1000, **over):
    """A run of which summary, learner, world and length are read."""
    folder.mkdir(parents=True)
    config = {key: {} for key in rundir.SECTIONS} | {"algo": {"learner": learner}}
    config |= {"env": env, "total_steps": asked}
    (folder / rundir.CONFIG).write_text(yaml.safe_dump(config))
    told = {
        **{"algo": algo, "env": "smax", "map": "3m", "preset": "default", "seeds": 5},
        **{"env_steps": 1024, "commit": "0123456789abcdef+changes", "device": "cpu"},
        **{"measure": "win_rate", "last_three": {"win_rate": interval(value)}},
    }
    (folder / rundir.SUMMARY).write_text(json.dumps({**told, **over}))


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    finished(folder / "a", "qmix", 0.5)
    finished(folder / "b", "roma", 0.75)
    finished(folder / "c", "roma", 0.9, seeds=2, env_steps=1088)
    finished(folder / "g", "roma", 0.95, env_steps=9088, asked=9000)
    finished(folder / "d", "roma", 0.6, preset="paper")
    finished(folder / "e", "vdn", None)
    returned = {"return": interval(7.0), "win_rate": interval(0.0)}
    other = {"env": {"name": "pac_men"}, "last_three": returned}
    finished(folder / "f", "qmix", 0.0, **other, measure="return")
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
    assert head == [
        "algorithm",
        "pac_men, 1,000 steps: return",
        "smax/3m, 1,000 steps: win rate",
        "smax/3m, 9,000 steps: win rate",
    ]
    assert across == [
        ["qmix", "7.00 [6.90, 7.10]", "0.500 [0.400, 0.600]", "-"],
        # Of five seeds, not the better two.
        ["roma", "-", "0.750 [0.650, 0.850]", "0.950 [0.850, 1.050]"],
        ["roma (paper)", "-", "0.600 [0.500, 0.700]", "-"],
        ["vdn", "-", "none", "-"],
    ]
    assert [row[:4] for row in rows[-2:]] == [
        ["algorithm", "win rate", "return", "seeds"],
        ["roma", "0.950 [0.850, 1.050]", "none", "5"],
    ]
    in_battles = [[*row[:2], row[3]] for row in rows[-7:-2]]
    assert in_battles == [
        ["roma", "0.900 [0.800, 1.000]", "2"],
        ["roma", "0.750 [0.650, 0.850]", "5"],
        ["roma (paper)", "0.600 [0.500, 0.700]", "5"],
        ["qmix", "0.500 [0.400, 0.600]", "5"],
        ["vdn", "none", "5"],
    ]
    assert rows[-4][4:] == ["1,024", "0123456789+changes", "cpu"]


def test_one_measure_for_all_runs_of_a_world(tmp_path):
    """A run without a win stands among those that win; returns stand beside."""
    both = {"return": interval(1.5), "win_rate": interval(0.0)}
    finished(
        tmp_path / "a", "qmix", 0.5, last_three={**both, "win_rate": interval(0.5)}
    )
    finished(tmp_path / "b", "iql", 0.0, last_three=both, measure="return")
    maze = {"env": MAZE, "last_three": both, "measure": "return"}
    finished(tmp_path / "c", "qmix", 0.0, **maze)
    finished(tmp_path / "d", "iql", 0.0, **maze)
    board = leaderboard.read(sorted(str(one) for one in tmp_path.iterdir()))
    rows = tables(leaderboard.page(board.entries))
    head, *across = rows[:3]
    assert ["iql", "0.000 [-0.100, 0.100]", "1.50 [1.40, 1.60]", "5"] in [
        row[:4] for row in rows
    ]
    assert head[1:] == [
        "smax/3m, 1,000 steps: win rate",
        "windy_maze, 1,000 steps: return",
    ]
    assert across == [
        ["iql", "0.000 [-0.100, 0.100]", "1.50 [1.40, 1.60]"],
        ["qmix", "0.500 [0.400, 0.600]", "1.50 [1.40, 1.60]"],
    ]


def test_worlds_and_lengths_are_those_that_were_asked_for(tmp_path):
    """Learners stop at a block's end; a run that was stopped is of its own length."""
    small = {"name": "smacv2", "map": "10gen_terran", "units": 5, "enemies": 5}
    finished(tmp_path / "a", "qmix", 0.5, env_steps=50_048, asked=50_000)
    finished(tmp_path / "b", "mappo", 0.5, env_steps=51_200, asked=50_000)
    finished(tmp_path / "c", "vdn", 0.5, env_steps=30_016, asked=50_000)
    finished(tmp_path / "d", "qmix", 0.5, env=small)
    finished(tmp_path / "e", "qmix", 0.5, env={**small, "units": 10, "enemies": 11})
    finished(tmp_path / "f", "qmix", 0.5, env={"name": "gymma", "id": "rware-tiny"})
    board = leaderboard.read(sorted(str(one) for one in tmp_path.iterdir()))
    head, *_ = tables(leaderboard.page(board.entries))
    assert [cell.partition(":")[0] for cell in head[1:]] == [
        "gymma/rware-tiny, 1,000 steps",
        "smacv2/10gen_terran_10_vs_11, 1,000 steps",
        "smacv2/10gen_terran_5_vs_5, 1,000 steps",
        "smax/3m, 30,016 steps",
        "smax/3m, 50,000 steps",
    ]


def test_runs_of_one_name_by_two_learners_are_told_apart(tmp_path):
    finished(tmp_path / "a", "acorm", 0.5)
    finished(tmp_path / "b", "acorm", 0.75, learner="pqn")
    finished(tmp_path / "c", "qmix", 0.25)
    board = leaderboard.read(sorted(str(one) for one in tmp_path.iterdir()))
    _, *across = tables(leaderboard.page(board.entries))[:4]
    assert [row[0] for row in across] == ["acorm (pqn)", "acorm (qmix)", "qmix"]


def test_runs_that_are_none_do_not_hide_the_others(runs, tmp_path, capsys):
    (runs / "j").mkdir()
    (runs / "j" / rundir.CONFIG).write_text("algo: {}\n")
    ranking = [{"rank": 1, "hypers": {}, "seeds": [0], "frozen": 0, "last_three": {}}]
    finished(runs / "h", "qmix", 0.5, ranking=ranking)
    finished(runs / "i", "qmix", 0.5)
    (runs / "i" / rundir.SUMMARY).write_text("{")
    out = tmp_path / "page.md"
    with pytest.raises(SystemExit) as ended:
        command.main([f"runs={runs}", f"out={out}"])
    assert ended.value.code == 1
    told = capsys.readouterr().err
    for part in ("j' has no summary yet", "h' has sweep.hypers", "damaged"):
        assert part in told
    assert "| roma (paper)" in out.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "runs"),
        (["runs={}", "out=x.html"], "out: got 'x.html'; allowed: a name in .md"),
        (["runs={}/j"], "has no summary yet"),
    ],
)
def test_faults_are_named(options, message, runs, capsys):
    (runs / "j").mkdir()
    (runs / "j" / rundir.CONFIG).write_text("algo: {}\n")
    with pytest.raises(SystemExit) as ended:
        command.main([one.format(runs) for one in options])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
