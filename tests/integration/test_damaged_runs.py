"""Commands that read runs, on runs whose files something has damaged."""

import random
import shutil

import pytest

from experiments import plot, report, table
from experiments.door import compose, resume
from rolemarl_jax.disk import rundir
from rolemarl_jax.report import findings, loggers, summary

DAMAGED = 100  # runs; each is read by three commands
FILES = (rundir.CONFIG, rundir.METRICS, rundir.SUMMARY)


def whole(folder):
    """A finished run of two seeds, made by hand."""
    cfg = resume.resolve(compose.composed([f"run_dir={folder}", "algo=vdn"]))
    rows = [
        {"seed": seed, "env_steps": steps, "split": split, "updates": steps}
        | {"return": float(steps + seed), "win_rate": 0.5, "td": 1.0}
        for seed in (0, 1)
        for steps in (10, 20)
        for split in ("train", "test")
    ]
    rundir.create(cfg)
    logger = loggers.jsonl(folder / rundir.METRICS)
    logger.write(rows)
    logger.close()
    summary.write(folder, findings.summarise(cfg, rows, {"steps_per_second": 7.0}))


def damage(path, draw):
    """One of the things that happen to files."""
    data = path.read_bytes()
    at = draw.randrange(len(data))
    kind = draw.randrange(7)
    if kind in (0, 1):
        path.write_bytes(data[:at])
    elif kind in (2, 3):
        flipped = bytearray(data)
        for _ in range(draw.randint(1, 20)):
            flipped[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(bytes(flipped))
    elif kind == 4:
        others = (
            b"",
            b"\xff\xfe\x00",
            b"3\n",
            b"[1, 2]\n",
            b"null\n",
            b"{}\n",
            b"a: &b *b",
        )
        path.write_bytes(draw.choice(others))
    elif kind == 5:
        path.unlink()
    else:
        path.unlink()
        path.mkdir()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*damaged and left out")
def test_no_damage_is_a_traceback_or_hides_a_whole_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    good, bad, draw = tmp_path / "good", tmp_path / "bad", random.Random(0)
    whole(good)
    commands = {
        "plot": lambda: plot.main([f"runs=[{good},{bad}]", "out=x.png"]),
        "report": lambda: report.main([f"run_dir={bad}", "out=x.html"]),
        "table": lambda: table.main([f"run_dir={bad}", "out=x.csv"]),
    }
    for number in range(DAMAGED):
        shutil.copytree(good, bad)
        name = draw.choice(FILES)
        damage(bad / name, draw)
        for command, call in commands.items():
            (tmp_path / "x.png").unlink(missing_ok=True)
            status = 0
            try:
                call()
            except SystemExit as ended:
                status = ended.code
            except Exception as error:
                pytest.fail(f"{number}: {command}, {name}: {error!r}")
            assert status in (0, 1, 2)
            told = capsys.readouterr().err
            assert told.startswith("error: ") == bool(status), (number, command, told)
            assert command != "plot" or (tmp_path / "x.png").is_file()
        shutil.rmtree(bad)
