"""What is wrong with a world: traced on shapes first, then played by chance."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rolemarl_jax.checks.findings import (
    Finding,
    Stop,
    fault,
    mismatch,
    note,
    reason,
    same_tree,
    traced,
)
from rolemarl_jax.checks.play import Seen, play
from rolemarl_jax.checks.purity import impure
from rolemarl_jax.checks.seen import seen_faults
from rolemarl_jax.types import Bodies, Env, EnvSpec, Observation, Step, shaped

WORLDS = 8
SIZES = ("n_agents", "n_actions", "obs_dim", "state_dim", "episode_limit")
SCALARS = {
    "reward": jnp.float32,
    "terminated": jnp.bool_,
    "truncated": jnp.bool_,
    "won": jnp.bool_,
}


def check_env(env: Env, seed: int = 0) -> list[Finding]:
    """Everything that is found wrong with a world, or may be; empty if nothing is.

    Its sizes, then shapes and types of what its functions return, then whether they
    are functions of their arguments alone, then what random play sees in at least two
    episodes of each of eight worlds, half of which are not reset.

    Args:
        env: the world.
        seed: of the random play.
    """
    found = without_playing(env)
    if any(one.level == "fault" for one in found):
        return found
    try:
        seen = _played(env, seed)
    except Stop as stop:
        return [*found, stop.finding]
    return [*found, *seen_faults(env.spec, seen)]


def without_playing(env: Env) -> list[Finding]:
    """What can be told of a world without compiling anything; as ``check_env``."""
    found = list(_spec_faults(env.spec))
    try:
        for part in (_traced_faults, impure):
            if any(one.level == "fault" for one in found):
                return found
            found += part(env)
    except Stop as stop:
        found.append(stop.finding)
    return found


def _spec_faults(spec: EnvSpec) -> Iterator[Finding]:
    """Sizes and names that cannot be."""
    for name in SIZES:
        got = getattr(spec, name)
        if not isinstance(got, int) or isinstance(got, bool) or got < 1:
            yield fault(f"spec.{name}: got {got!r}; allowed: an int of at least 1")
            return
    if not spec.kinds or not all(isinstance(kind, str) for kind in spec.kinds):
        yield fault(f"spec.kinds: got {spec.kinds!r}; allowed: a name of each type")
    elif spec.own_type is not None:
        last = spec.obs_dim - len(spec.kinds)
        if not 0 <= spec.own_type <= last:
            yield fault(
                f"spec.own_type: got {spec.own_type}; allowed: 0 to {last}, so that a "
                f"feature for each of {len(spec.kinds)} kinds lies in obs_dim="
                f"{spec.obs_dim}; None where agents do not see their type"
            )
    for name, size in (("obs", spec.obs_dim), ("state", spec.state_dim)):
        flags = getattr(spec, f"{name}_flags")
        if list(flags) != sorted(set(flags).intersection(range(size))):
            yield fault(
                f"spec.{name}_flags: got {flags}; allowed: features from 0 to "
                f"{size - 1}, each once, in rising order"
            )
    if spec.max_return is None:
        yield note(
            "spec.max_return: is None, so rewards are not scaled; give the return of a "
            "perfect episode if it is known"
        )


def _traced_faults(env: Env) -> Iterator[Finding]:
    """Shapes and types of what each function returns."""
    spec, key = env.spec, jax.eval_shape(jax.random.key, 0)
    state = traced("reset(key)", env.reset, key)
    yield from _looks("observe(reset(key))", env, state)
    actions = shaped((spec.n_agents,), jnp.int32)
    made = traced("step(key, state, actions)", env.step, key, state, actions)
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], Step)):
        yield fault(
            f"step(key, state, actions): got {type(made).__name__}; allowed: a pair of "
            "the next state and a Step"
        )
        return
    after, step = made
    yield from same_tree("step's state", after, state, "reset's")
    for name, dtype in SCALARS.items():
        yield from mismatch(f"step's {name}", getattr(step, name), (), dtype)
    packed = traced("pack(state)", env.pack, state)
    unpacked = traced("unpack(pack(state))", env.unpack, packed)
    yield from same_tree("unpack(pack(state))", unpacked, state, "reset's state")
    if env.bodies is not None:
        yield from _bodies(spec, traced("bodies(state)", env.bodies, state))


def _looks(name: str, env: Env, state: Any) -> Iterator[Finding]:
    """Shapes and types of an observation."""
    spec, look = env.spec, traced(name, env.observe, state)
    if not isinstance(look, Observation):
        yield fault(f"{name}: got {type(look).__name__}; allowed: an Observation")
        return
    n = spec.n_agents
    wanted = Observation(
        obs=shaped((n, spec.obs_dim), jnp.float32),
        state=shaped((spec.state_dim,), jnp.float32),
        avail=shaped((n, spec.n_actions), jnp.bool_),
    )
    for part, one in wanted._asdict().items():
        yield from mismatch(f"{name}.{part}", getattr(look, part), one.shape, one.dtype)


def _bodies(spec: EnvSpec, got: Any) -> Iterator[Finding]:
    """Shapes and types of what a spectator sees."""
    if not isinstance(got, Bodies):
        yield fault(f"bodies(state): got {type(got).__name__}; allowed: Bodies")
        return
    n = spec.n_agents
    yield from mismatch("bodies(state).kind", got.kind, (n,), jnp.int32)
    yield from mismatch("bodies(state).place", got.place, (n, 2), jnp.float32)
    yield from mismatch("bodies(state).alive", got.alive, (n,), jnp.bool_)


def _played(env: Env, seed: int) -> Seen:
    """What random play sees, as numpy arrays.

    Raises:
        Stop: the world cannot be mapped, scanned or run.
    """
    ticks = 2 * env.spec.episode_limit + 2
    run = jax.jit(lambda key: play(env, key, WORLDS, ticks))
    try:
        return jax.tree.map(np.asarray, run(jax.random.key(seed)))
    except Exception as error:
        where = "under jit, vmap and lax.scan the world "
        raise Stop(fault(where + reason(error))) from error
