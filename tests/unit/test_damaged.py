"""Files of a run that something cut, flipped or replaced: one message, or a warning."""

import json

import numpy as np
import pytest
from support import run_config, small_algo

from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import rundir
from rolemarl_jax.report import findings, lines, loggers, summary

ROWS = [
    {"seed": seed, "env_steps": steps, "split": "test", "return": 1.5, "win_rate": None}
    for seed in (0, 1)
    for steps in (64, 128)
]


@pytest.fixture
def run_dir(tmp_path):
    cfg = run_config(small_algo("acorm"), 2, {"run_dir": str(tmp_path)})
    rundir.create(cfg)
    summary.write(tmp_path, findings.summarise(cfg, ROWS, {}))
    logger = loggers.jsonl(tmp_path / rundir.METRICS)
    logger.write(ROWS)
    logger.close()
    return tmp_path


def damages(whole):
    """Cut anywhere, a byte replaced anywhere, and what is another file altogether."""
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(whole), 30):
        yield whole[:at]
        yield whole[:at] + bytes([rng.integers(256)]) + whole[at + 1 :]
    yield from (b"", b"\n", b"\xff\xfe\x00", b"3", b"[1, 2]", b'"text"', b"null")
    yield from (b"a: !!python/object/apply:os.getcwd []", b"{" * 500, b"a: b: c")


def tried(read, path, damaged):
    """Whether ``read`` refuses the damaged file; it raises nothing else."""
    path.write_bytes(damaged)
    try:
        read()
    except ConfigError as error:
        assert str(path) in str(error)
        return True
    return False


@pytest.mark.parametrize(
    ("name", "read", "most"),
    [
        (rundir.CONFIG, rundir.load_config, 0.5),
        (rundir.SUMMARY, summary.read, 0.4),
    ],
)
def test_damaged_files_are_refused_or_read(run_dir, name, read, most):
    path = run_dir / name
    whole = path.read_bytes()
    refused = [tried(lambda: read(run_dir), path, one) for one in damages(whole)]
    assert np.mean(refused) > most
    assert not tried(lambda: read(run_dir), path, whole)


@pytest.mark.parametrize("name", ["algo", "env", "sweep", "train"])
@pytest.mark.parametrize("value", ["3", "[1]", "text", "null"])
def test_sections_that_are_no_mapping(run_dir, name, value):
    path = run_dir / rundir.CONFIG
    lines = path.read_text().splitlines(keepends=True)
    start = lines.index(next(x for x in lines if x.startswith(f"{name}:")))
    end = next(
        i for i in range(start + 1, len(lines)) if not lines[i].startswith((" ", "-"))
    )
    text = "".join([*lines[:start], f"{name}: {value}\n", *lines[end:]])
    with pytest.raises(ConfigError, match=f"damaged.*section {name}"):
        rundir.load((path.write_text(text), run_dir)[1])


@pytest.mark.parametrize(
    "line",
    [
        *(b"3", b"[1]", b"null", b'{"seed": 0}', b'{"seed": 0, "env', b"\xff\xff", b""),
        json.dumps({**ROWS[0], "return": [1]}).encode(),
    ],
)
def test_lines_that_are_no_rows_are_left_out_aloud(run_dir, line):
    path = run_dir / rundir.METRICS
    first, *others = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + line + b"\n" + b"".join(others))
    with pytest.warns(UserWarning, match="1 of 5 lines are damaged and left out"):
        found = lines.read(path)
    assert [(row["seed"], row["env_steps"]) for row in found] == [
        (row["seed"], row["env_steps"]) for row in ROWS
    ]
    with path.open("ab") as file:  # still a row: bytes that no text has are kept
        file.write(b'{"seed": 1, "env_steps": 64, "split": "test", "\xff": 1.0}\n')
    assert lines.truncate_after(path, 64) == 3
    found = lines.read(path)
    assert [row["seed"] for row in found] == [0, 1, 1]
    assert found[-1]["?"] == 1.0  # and can be shown
