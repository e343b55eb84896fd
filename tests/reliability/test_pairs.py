"""Two processes on one directory: one works, the other is refused, nothing is mixed.

ROLEMARL_TRIES=50 python -m pytest -m slow -s tests/reliability/test_pairs.py
"""

import time
from collections import Counter

import numpy as np
import pytest
import tries

from rolemarl_jax.report import summary

pytestmark = pytest.mark.slow
KINDS = ("fresh", "resume", "sweep", "record")
APART = 60.0  # seconds between two starts, at most


@pytest.mark.parametrize("kind", KINDS)
def test_pairs(kind, tmp_path):
    draws, seen = tries.draws(kind), Counter()
    name = {"sweep": "chunks", "record": "bridge"}.get(kind, "qmix")
    arguments = tries.CONFIGURATIONS[name]
    whole = tmp_path / "whole"
    took = tries.trained(*arguments, f"run_dir={whole}")
    for number in range(-(-tries.count(4) // len(KINDS))):
        folder = tmp_path / str(number)
        first, second = _commands(kind, folder, arguments, took)
        seconds = draws.uniform(0, APART) ** 2 / APART  # rather soon than late
        runs = [tries.start(*first)]
        time.sleep(seconds)
        runs.append(tries.start(*second))
        codes, said = zip(*map(tries.ended, runs), strict=True)
        _judge(kind, folder, whole, codes, said)
        seen[str(sorted(codes))] += 1
        print(f"{kind}: {seconds:.1f} s apart, exit statuses {codes}")
    print(f"{kind}: {dict(seen)}, corrupted: 0")


def _commands(kind, folder, arguments, took):
    """Command lines of both processes."""
    at = f"run_dir={folder}"
    if kind == "record":
        record = f"bridge.record={folder / 'episodes'}"
        return tuple((*arguments, record, f"run_dir={folder / x}") for x in "ab")
    if kind == "resume":
        tries.killed_after(0.7 * took, *arguments, at)
        return (tries.going_on(folder, arguments),) * 2
    return ((*arguments, at),) * 2


def _judge(kind, folder, whole, codes, said):
    """Who was not refused has done what one process alone does."""
    assert set(codes) <= {0, 2} and 0 in codes, said
    for code, text in zip(codes, said, strict=True):
        refused = ("in use by", "holds a run")
        assert code == 0 or any(part in text for part in refused), text
    if kind != "record":
        tries.require_whole(folder)
        assert tries.left(folder) == tries.left(whole)
        return
    finished = [folder / x for code, x in zip(codes, "ab", strict=True) if code == 0]
    for one in finished:
        tries.require_whole(one)
    played = sum(summary.read(one).env_steps for one in finished)
    episodes = [np.load(path) for path in (folder / "episodes").glob("*.npz")]
    assert sum(len(one["reward"]) for one in episodes) == played
