"""A run that was killed and taken up equals the one that was not, bit for bit.

ROLEMARL_TRIES=200 python -m pytest -m slow -s tests/reliability/test_kills.py
"""

import shutil
import time

import pytest
import tries

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def results():
    """Kills and equal outcomes by configuration, printed at the end."""
    table = {}
    yield table
    print("\n| configuration | kills | of which before a checkpoint | equal |")
    for name, (kills, early, equal) in table.items():
        print(f"| {name} | {kills} | {early} | {equal} |")


@pytest.mark.parametrize("name", tries.CONFIGURATIONS)
def test_kills(name, tmp_path, results):
    arguments = tries.CONFIGURATIONS[name]
    whole = tmp_path / "whole"
    tries.trained(*arguments, f"run_dir={whole}")  # compiles, too
    tries.require_whole(whole)
    again = tmp_path / "again"
    took = tries.trained(*arguments, f"run_dir={again}")
    same = name.startswith("bridge") or tries.left(again) == tries.left(whole)
    assert same, "it differs from itself without a kill"
    draws, done = tries.draws(name), [0, 0, 0]
    results[name] = done
    for number in range(-(-tries.count(8) // len(tries.CONFIGURATIONS))):
        _one(tmp_path / str(number), whole, name, draws.uniform(0, took), done)
        shutil.rmtree(tmp_path / str(number))
    kills, _, equal = done
    assert kills == equal > 0


def _one(run_dir, whole, name, seconds, done):
    """One run, killed until it has come to its end; each time a bit later."""
    arguments = tries.CONFIGURATIONS[name]
    while not tries.killed_after(seconds, *tries.going_on(run_dir, arguments)):
        shutil.rmtree(run_dir)  # it was over before
        seconds *= 0.8
    done[0] += 1
    done[1] += not any(run_dir.rglob("checkpoints/*/meta"))
    began = time.monotonic()
    tries.trained(*tries.going_on(run_dir, arguments))
    tries.require_whole(run_dir)
    if not name.startswith("bridge"):  # these differ from themselves
        assert tries.left(run_dir) == tries.left(whole), f"killed after {seconds} s"
    done[2] += 1
    print(
        f"{name}: killed after {seconds:.1f} s, {time.monotonic() - began:.0f} s more"
    )
