"""Seeds over several devices: the same numbers, and no word between devices."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probes import worlds
from support import run_config, small_algo

from rolemarl_jax import members
from rolemarl_jax.learners import make_learner
from rolemarl_jax.program.compiled import compile_program
from rolemarl_jax.program.program import Cursor, make_program
from rolemarl_jax.run import runner, saved

SEEDS = 9
COMPILED = os.environ.get("XLA_FLAGS", "")  # how this process compiles
TALK = ("all-reduce", "all-gather", "all-to-all", "collective", "reduce-scatter")


def report():
    """What a run over all devices of this process computes, as numbers."""
    env = worlds.probe(worlds.KINDS.index("match"))
    over = {
        "replay": {"episodes": 64, "batch": 8},
        "eval": {"episodes": 4, "worlds": 4},
    }
    cfg = run_config(small_algo("iql"), SEEDS, over)
    program = make_program(cfg, env, make_learner(cfg.algo, env.spec))
    compiled = compile_program(program, cfg)
    warm = program.stages[0].iterations

    def segment(state, tick, stage, count):
        at = Cursor(*(jnp.asarray(x, jnp.int32) for x in (tick, 0, stage)))
        return compiled.segment(state, at, jnp.asarray(count, jnp.int32))

    who = members.arrays(cfg, program.members)
    state, _ = segment(compiled.init(*who), 0, 0, warm)
    state, tally = segment(state, warm * program.ticks, 1, 3)
    results = state.learner, state.worlds, tally, compiled.evaluate(state)
    text = compiled.segment.as_text() + compiled.evaluate.as_text()
    return {
        "devices": jax.device_count(),
        "computed": program.members,
        "talk": [word for word in TALK if word in text],
        "modules": text.count("HloModule"),
        "numbers": [_text(x) for x in jax.tree.leaves(results)],
        "note": runner._header(cfg, program, compiled, 0, "").note,
    }


def _text(x):
    """Every bit of the seeds that were asked for."""
    key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    plain = np.asarray(jax.random.key_data(x) if key else x)
    return plain[:SEEDS].tobytes().hex()


def reread(folder, seeds):
    """Where a saved state comes back to, and whether it is what was saved."""
    env = worlds.probe(worlds.KINDS.index("match"))
    over = {"run_dir": folder, "resume": True}
    cfg = run_config(small_algo("iql"), seeds, over)
    cfg = replace(cfg, checkpoint=replace(cfg.checkpoint, replay=True))
    program = make_program(cfg, env, make_learner(cfg.algo, env.spec))
    state = program.init(*members.arrays(cfg, program.members))
    saved.save(cfg, saved.parts(cfg, state), 64, 1, 0.0)
    read = saved.restore(cfg, saved.places(cfg, program)).state
    whole = saved.is_whole(cfg, program)
    back = saved.resumed(saved.shapes(cfg, program) if whole else state, read)
    leaves = jax.tree.leaves
    return {
        "whole": whole,
        "read": [len(x.sharding.device_set) for x in leaves(read)],
        "back": [len(x.sharding.device_set) for x in leaves(back)],
        "equal": [_text(x) for x in leaves(back)] == [_text(x) for x in leaves(state)],
    }


def forced(count, what="report()"):
    """``what`` of a process that is told to have so many CPU devices."""
    flags = f"{COMPILED} --xla_force_host_platform_device_count={count}"
    code = (
        "import conftest, jax, json, test_devices\n"
        "jax.config.update('jax_disable_most_optimizations', True)\n"
        f"print(json.dumps(test_devices.{what}))\n"
    )
    here = Path(__file__).parent
    paths = [str(here), str(here.parent), str(here.parent.parent)]
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "XLA_FLAGS": flags,
            "PYTHONPATH": os.pathsep.join(paths),
        },
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("count", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_devices_change_nothing(count, alone):
    found = forced(count)
    assert found["devices"] == count
    assert found["computed"] == {2: 10, 8: 16}[count]
    assert found["modules"] == 2 and found["talk"] == []
    surplus = found["computed"] - SEEDS
    assert found["note"].startswith(f"{surplus} more are computed and dropped")
    assert found["numbers"] == alone["numbers"]
    assert len(alone["numbers"]) > 20 and alone["note"] == ""


@pytest.mark.parametrize(("seeds", "whole"), [(4, True), (3, False)])
def test_a_state_comes_back_to_the_devices_that_train_it(seeds, whole, tmp_path):
    """Each gets its own members; with a surplus all wait on the host meanwhile."""
    found = forced(2, f"reread({str(tmp_path)!r}, {seeds})")
    assert found["whole"] is whole and found["equal"]
    assert set(found["read"]) == ({2} if whole else {1}) and set(found["back"]) == {2}


@pytest.fixture(scope="module")
def alone():
    """One device, as the test process has."""
    assert jax.device_count() == 1
    jax.config.update("jax_disable_most_optimizations", True)
    yield report()
    jax.config.update("jax_disable_most_optimizations", False)


def test_the_inspection_finds_devices_that_talk():
    """A sum over a sharded axis is what the words above are there for."""
    code = (
        "import jax, jax.numpy as jnp\n"
        "from jax.sharding import NamedSharding, PartitionSpec\n"
        "mesh = jax.make_mesh((4,), ('seed',))\n"
        "x = jax.device_put(jnp.ones(8), NamedSharding(mesh, PartitionSpec('seed')))\n"
        "print(jax.jit(jnp.sum).lower(x).compile().as_text())\n"
    )
    flags = "--xla_force_host_platform_device_count=4"
    env = {**os.environ, "XLA_FLAGS": flags}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env
    )
    assert any(word in done.stdout for word in TALK), done.stderr[-500:]
