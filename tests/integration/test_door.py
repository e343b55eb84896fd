"""Random command lines end in a run that could begin, or in one message."""

import random
import time

import pytest

from experiments import run
from experiments.door import cli, compose, devices
from rolemarl_jax.disk.rundir import leaves

TRIES = 300
SECONDS = 5.0  # of this process, for one command line
EDGES = (
    *("nan", "inf", "-inf", "1e400", "-1e400", "1e39", "-1", "0", "1", "0.5", "1.5"),
    *(
        "-0.0",
        "2",
        "3.0",
        "7",
        "1e6",
        "1e9",
        "2147483647",
        "2147483648",
        "1e11",
        "1e-9",
    ),
    *("null", "true", "false", "text", "''", "[]", "{}", "[1]", "[nan]", "{a: 1}"),
    *("???", "[1,2,3]", "${seed}", "${nothing}", "'a b'", "-", "[", "a(b", "1e", "٣"),
)
WRONG = (
    *("sedes=3", "algo.lrr=1", "lr=1", "env.map.x=1", "+new=1", "++algo.new=1"),
    *("~seeds", "~algo.lr", "algo=nothing", "env=", "run=[debug]", "seeds", "=1", "+"),
    *("run_dir=", "run_dir=[]", "run_dir=a*b", "run_dir=/proc/x", "algo.role=null"),
    *("bridge=1", "sweep.hypers.lr=[]", "sweep.hypers.x=[1]", "sweep.hypers=1"),
    *("sweep.hypers.lr=[1e-3,1e-3]", "init_from=nowhere", "resume=true", "logger=x"),
)


def line(draw, files):
    """One random command line: files of groups, and up to three odd keys."""
    chosen = [
        f"{group}={draw.choice(files[group])}"
        for group in ("algo", "env", "run")
        if draw.random() < 0.8
    ]
    base = compose.composed(chosen).values
    keys = [key for key, _ in leaves(base) if key not in ("run_dir", "resume")]
    odd = [
        draw.choice(WRONG)
        if draw.random() < 0.25
        else f"{draw.choice(keys)}={draw.choice(EDGES)}"
        for _ in range(draw.randint(0, 3))
    ]
    return [*chosen, *odd]


def outcome(arguments, capsys):
    """Exit status, what stands on stderr, and the seconds of this process."""
    began = time.process_time()
    try:
        cli.launch(run.check, arguments)
        status = 0
    except SystemExit as ended:
        status = ended.code
    return status, capsys.readouterr().err, time.process_time() - began


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_random_command_lines(seed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(devices, "add_flags", lambda _: None)
    monkeypatch.setattr(devices, "use_cache", lambda _: None)
    draw, files = random.Random(seed), compose.groups()
    refused = 0
    for _ in range(TRIES // 3):
        arguments = line(draw, files)
        try:
            status, told, seconds = outcome(arguments, capsys)
        except Exception as error:
            pytest.fail(f"{' '.join(arguments)}: {type(error).__name__}: {error}")
        assert seconds < SECONDS, arguments
        assert status == (2 if told else 0), (arguments, told)
        assert told.startswith("error: ") or not told, (arguments, told)
        refused += status == 2
    assert TRIES // 3 > refused > 0
    assert not any(tmp_path.iterdir())
