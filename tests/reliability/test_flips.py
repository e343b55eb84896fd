"""One flipped bit in a checkpoint is noticed.

ROLEMARL_TRIES=300 python -m pytest -m slow -s tests/reliability/test_flips.py
"""

import shutil
from collections import Counter
from functools import partial

import jax
import pytest
import tries

import envs
from rolemarl_jax import members
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import checkpoint, digests, rundir
from rolemarl_jax.learners import make_learner
from rolemarl_jax.program.program import make_program
from rolemarl_jax.run import saved

pytestmark = [
    pytest.mark.slow,
    # Orbax leaves what it was reading when a file turns out to be damaged.
    pytest.mark.filterwarnings("ignore"),
]


NOTICED = ("all refused", "noticed, older one used")


def shapes(run_dir):
    """Of all parts of a run's checkpoints."""
    cfg = rundir.load_config(run_dir)
    env = envs.make_compiled(cfg.env)
    program = make_program(cfg, env, make_learner(cfg.algo, env.spec), jax.devices())
    state = jax.eval_shape(program.init, *members.arrays(cfg, program.members))
    return jax.eval_shape(partial(saved.parts, cfg), state)


def flip(path, draws):
    """Changes one bit of a file."""
    data = bytearray(path.read_bytes())
    at = draws.randrange(len(data))
    data[at] ^= 1 << draws.randrange(8)
    path.write_bytes(bytes(data))


def test_flips(tmp_path):
    run_dir, other = tmp_path / "run", tmp_path / "other"
    tries.trained(*tries.CONFIGURATIONS["qmix"], f"run_dir={run_dir}")
    kept, parts = run_dir / rundir.CHECKPOINTS, shapes(run_dir)
    whole = checkpoint.restore(kept, parts)
    expected = digests.of_parts(whole.state, whole.meta)
    draws, seen, where = tries.draws("flips"), Counter(), Counter()
    for number in range(tries.count(10)):
        shutil.copytree(kept, other)
        files = [x for x in (other / str(whole.step)).rglob("*") if x.is_file()]
        files = [x for x in files if x.stat().st_size]
        # By bytes, and by files: otherwise small ones never come up.
        sizes = [x.stat().st_size if number % 2 else 1 for x in files]
        (path,) = draws.choices(files, sizes)
        flip(path, draws)
        outcome = _outcome(other, parts, whole.step, expected)
        seen[outcome] += 1
        where[outcome, _kind(path.relative_to(other))] += 1
        shutil.rmtree(other)
    print(f"\n{dict(seen)}", *where.items(), sep="\n")
    missed = [name for outcome, name in where if outcome not in NOTICED]
    assert not missed, missed


def _outcome(folder, parts, step, expected):
    """What became of a checkpoint with a flipped bit."""
    try:
        found = checkpoint.restore(folder, parts)
    except ConfigError:
        return "all refused"
    if found.step != step:
        assert "unreadable, so an older one is used" in found.note
        return "noticed, older one used"
    same = digests.of_parts(found.state, found.meta) == expected
    return "read, and equal bit for bit" if same else "wrong"


def _kind(path):
    """A file's name, or that of its folder where the name is a number."""
    return "/".join(path.parts[1:-1] if len(path.name) > 30 else path.parts[1:])
