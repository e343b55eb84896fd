"""Measurements of an attached card: one that fails costs its own row."""

import os
import time

import pytest

from experiments.bench import attached
from experiments.bench.parts.turns import Part, take_turns
from rolemarl_jax.config import ConfigError


def measured(value):
    yield None
    yield {"found": value}


def broken():
    raise MemoryError("RESOURCE_EXHAUSTED: all of it\nand more")
    yield


def broken_later():
    yield None
    raise ValueError("while measuring")


def gone():
    yield None
    os._exit(7)


def endless():
    time.sleep(60)
    yield None


def part(measure, **arguments):
    return Part({"part": measure.__name__}, measure, arguments)


def test_a_part_that_fails_costs_its_own_row():
    asked = [
        *(part(broken), part(measured, value=1), part(gone), part(broken_later)),
        part(measured, value=2),
    ]
    found = [row for _, row in take_turns(asked, 60, 3)]
    assert found[0] == "MemoryError: RESOURCE_EXHAUSTED: all of it"
    assert found[1]["found"] == 1
    assert found[2] == "its process ended with status 7"
    assert found[3] == "ValueError: while measuring"
    assert found[4]["found"] == 2


def test_one_that_takes_too_long_is_ended():
    asked = [part(endless), part(measured, value=1), part(measured, value=2)]
    began = time.monotonic()
    found = [row for _, row in take_turns(asked, 15, 2)]
    assert time.monotonic() - began < 40
    assert found[0].startswith("not compiled in ")
    assert found[1]["found"] == 1
    if isinstance(found[2], str):  # on a busy machine
        assert found[2].startswith(("not begun", "not compiled", "not measured"))


def options(**changes):
    plain = {"scale": "tiny", "parts": [], "algo": [], "map": "3m", "maps": ["3m"]}
    return plain | {"minutes": 1, "wave": 2, "peer": None, "seeds": []} | changes


def test_every_part_is_asked_for():
    listed = attached.parts(attached.SCALES["tiny"], options())
    names = list(dict.fromkeys(one.labels["part"] for one in listed))
    assert names == ["peak", "simulator", "iteration", "seeds", "goal"]
    algos = {one.labels.get("algo") for one in listed}
    assert {"qmix", "roma", "acorm", "acorm_mappo", "r3dm", "eoi", "eoi_maac"} <= algos
    chosen = attached.parts(attached.SCALES["tiny"], options(algo=["maac"]))
    words = [one.arguments["words"] for one in chosen if "words" in one.arguments]
    assert not any(attached.KERNEL in each for each in words if "algo=maac" in each)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"scale": "huge"}, "scale: got 'huge'"),
        ({"parts": ["peeks"]}, "parts: got 'peeks'"),
        ({"peer": "nowhere"}, "peer: got nowhere"),
    ],
)
def test_what_is_unknown_is_refused(changes, named):
    with pytest.raises(ConfigError, match=named):
        attached.run(options(**changes))


def test_rows_of_a_table_have_the_same_columns():
    rows = [{"part": "a", "x": 1, "note": None}, {"part": "a", "note": "failed"}]
    assert attached._alike(rows) == [
        {"part": "a", "x": 1, "note": None},
        {"part": "a", "x": None, "note": "failed"},
    ]
    assert attached._alike(rows[:1]) == [{"part": "a", "x": 1}]


@pytest.mark.slow
def test_the_command_runs_without_a_card():
    found = attached.run(options(minutes=10, algo=["iql"]))
    assert not [row["note"] for row in found if row.get("note")]
    assert {row["part"] for row in found} == {
        *("peak", "simulator", "iteration", "seeds", "goal")
    }
