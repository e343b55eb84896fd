"""What is wrong with a world: traced on shapes first, then played by chance."""

import re
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
from rolemarl_jax.types import Bodies, Env, EnvSpec, Observation, Step, shaped

WORLDS = 8
SIZES = ("n_agents", "n_actions", "obs_dim", "state_dim", "episode_limit")
SCALARS = {
    "reward": jnp.float32,
    "terminated": jnp.bool_,
    "truncated": jnp.bool_,
    "won": jnp.bool_,
}

# What is wrong where ``Looked`` says no.
LOOKED = {
    "finite": "observation or state is NaN or infinite",
    "offered": "an agent has no available action",
    "lossless": "observe(unpack(pack(state))) is not what observe(state) is",
    "flagged": "a feature of spec.obs_flags or spec.state_flags is neither 0 nor 1, "
    "which replay would not keep",
    "typed": "the features from spec.own_type on are not 1 for an agent's own kind "
    "and 0 for all others",
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
    return [*found, *_seen_faults(env.spec, seen)]


def without_playing(env: Env) -> list[Finding]:
    """What can be told of a world without compiling anything; as ``check_env``."""
    found = list(_spec_faults(env.spec))
    try:
        for part in (_traced_faults, _impure):
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
    spec, key = env.spec, _key()
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


def _impure(env: Env) -> Iterator[Finding]:
    """Functions that are another program when they are traced once more."""
    key = _key()
    state = jax.eval_shape(env.reset, key)
    packed = jax.eval_shape(env.pack, state)
    actions = shaped((env.spec.n_agents,), jnp.int32)
    calls = {
        "reset": (env.reset, (key,)),
        "step": (env.step, (key, state, actions)),
        "observe": (env.observe, (state,)),
        "pack": (env.pack, (state,)),
        "unpack": (env.unpack, (packed,)),
    }
    if env.bodies is not None:
        calls["bodies"] = (env.bodies, (state,))
    for name, (function, arguments) in calls.items():
        if not _same_program(*(_program(function, arguments) for _ in range(2))):
            yield fault(
                f"{name}: gives another program each time it is traced: it draws from "
                "numpy's or Python's random numbers, or changes something outside; "
                "draw with jax.random from the key, keep what changes in the state"
            )


def _program(function: Any, arguments: tuple[Any, ...]) -> tuple[str, list[Any]]:
    """Text and constants of what a function is compiled to."""
    closed = jax.make_jaxpr(lambda *given: function(*given))(*arguments)
    return re.sub(r"0x[0-9a-f]+", "", str(closed.jaxpr)), closed.consts


def _same_program(one: tuple[str, list[Any]], other: tuple[str, list[Any]]) -> bool:
    (text, consts), (other_text, others) = one, other
    if text != other_text or len(consts) != len(others):
        return False
    return all(a is b or _same(a, b) for a, b in zip(consts, others, strict=True))


def _same(a: Any, b: Any) -> bool:
    """Whether two constants are equal; keys by their data."""
    if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=False)


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


def _seen_faults(spec: EnvSpec, seen: Seen) -> Iterator[Finding]:
    """What random play has shown to be wrong."""
    valid, over = seen.valid, seen.terminated | seen.truncated
    ends = valid & over

    def first(wrong: Any) -> str:
        t, w = np.argwhere(wrong)[0]
        return f"step {seen.step[t, w]} of an episode"

    for wrong, text in (
        (~np.isfinite(seen.reward), "reward is NaN or infinite"),
        (
            seen.terminated & seen.truncated,
            "terminated and truncated are both true; truncated is the time limit's "
            "alone, terminated everything else's",
        ),
        (seen.won & ~over, "won is true and the episode goes on"),
        (
            ~seen.inert,
            "what a dead agent chooses changes the next observation or the reward; "
            "leave dead agents one action, or heed none",
        ),
    ):
        if (wrong & valid).any():
            yield fault(f"{text} (seen at {first(wrong & valid)})")
    for name, text in LOOKED.items():
        early = ~getattr(seen.before, name) & valid
        final = ~getattr(seen.after, name) & ends
        if early.any():
            yield fault(f"{text} (seen at {first(early)})")
        elif final.any():
            where = f"in the terminal state, after {first(final)}"
            yield fault(f"{text} (seen {where}; learners read it too)")
    yield from _length_faults(spec, seen, ends)
    yield from _return_faults(spec, seen, ends)


def _length_faults(spec: EnvSpec, seen: Seen, ends: Any) -> Iterator[Finding]:
    """Ends of episodes against the time limit."""
    limit = spec.episode_limit
    longest = int((seen.step * seen.valid).max())
    if longest > limit:
        yield fault(
            f"an episode had step {longest} with spec.episode_limit={limit}; end it by "
            "then with truncated, or raise the limit"
        )
        return
    if _begins_anew(limit, seen):
        yield fault(
            "step resets the world when an episode ends; it has to return the terminal "
            "state, for callers reset it themselves"
        )
    cut = ends & seen.truncated
    if (seen.step[cut] < limit).any():
        early = int(seen.step[cut].min())
        yield fault(
            f"an episode was truncated after {early} steps with spec.episode_limit="
            f"{limit}, and learners keep one cut a limit; truncated is for the time "
            "limit, terminated for what ends by itself"
        )
    if not cut.any() and (seen.step[ends] == limit).all():
        yield note(
            f"every episode ended with terminated at the time limit ({limit} steps): "
            "what comes after counts nothing; say truncated if the clock alone ends it"
        )


def _begins_anew(limit: int, seen: Seen) -> bool:
    """Whether a world that nobody reset was cut by the time limit a second time."""
    for w in range(seen.truncated.shape[1]):
        over = np.flatnonzero(seen.terminated[:, w] | seen.truncated[:, w])
        left = len(over) > 1 and not seen.valid[over[0] + 1 :, w].any()
        gap = over[1] - over[0] if left else 0
        if gap == limit > 1 and seen.truncated[over[1], w]:
            return True
    return False


def _return_faults(spec: EnvSpec, seen: Seen, ends: Any) -> Iterator[Finding]:
    """Returns against the best one."""
    most = spec.max_return
    if most is not None and not most > 0:
        yield fault(f"spec.max_return: got {most}; allowed: above 0, or None")
    elif most is not None and (got := seen.ret[ends].max(initial=0.0)) > most * 1.0001:
        yield fault(
            f"an episode returned {got:.4g}, and spec.max_return={most:.4g} is the "
            "return of a perfect one"
        )
    if not (seen.reward * seen.valid).any():
        yield note(f"no reward was seen in {ends.sum()} random episodes")


def _key() -> Any:
    """Shape of a key."""
    return jax.eval_shape(lambda: jax.random.key(0))
