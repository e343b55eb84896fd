"""Seconds of one learner update at the sizes of SMAC's 2s3z, for every algorithm."""

from collections.abc import Iterator
from typing import Any

from experiments.bench.timing import busy, counted_gflop, measure, peak_gflops
from experiments.door.compose import composed, groups

# CPU seconds of the authors' PyTorch updates, one thread, at T = 60 and 120. Measured
# on another, shared machine: upper bounds, to be read as orders of magnitude.
AUTHORS = {
    ("qmix", 60): 0.080,
    ("qmix", 120): 0.149,
    ("vdn", 60): 0.068,
    ("acorm", 60): 0.459,
    ("acorm", 120): 1.093,
    ("acorm + contrastive", 60): 3.450,
    ("acorm + contrastive", 120): 6.624,
    ("roma", 60): 0.418,
    ("roma", 120): 0.837,
    ("r3dm", 60): 4.744,
    ("r3dm", 120): 10.748,
    ("r3dm + contrastive", 60): 7.839,
    # Their pass over classifier and intrinsic values, and PyMARL's QMIX.
    ("eoi_explore", 60): 0.237,
    ("mappo, one minibatch", 60): 0.588,
    ("acorm_mappo, the authors' script", 60): 1.887,
    ("acorm_mappo, the authors' script + contrastive", 60): 5.426,
}
# Sizes of the script that an authors' figure is of, where ours are their paper's.
SCRIPTS = {
    "acorm_mappo": (
        "algo.minibatch=null",
        "algo.role.embedding=64",
        "algo.role.role=32",
        "algo.role.actor_hidden=96",
        "algo.role.last_action=false",
    ),
}
# Agents, actions, features of an observation and of the state.
SIZES = 5, 11, 80, 120
ROWS = 32
UPDATES = 5


def run(options: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each algorithm and length, with variants where there are any.

    Timed are several updates in one program, as a run makes them: alone, each would
    pay for its working memory being mapped anew.

    Args:
        options: ``algo`` (names; all if empty) and ``lengths``.
    """
    peak = peak_gflops()
    return [
        _row(label, values, length, peak)
        for name in options["algo"] or groups()["algo"]
        for length in options["lengths"]
        for label, values in _variants(name, composed([f"algo={name}"]).values["algo"])
    ]


def _variants(name: str, values: dict[str, Any]) -> Iterator[tuple[str, dict]]:
    """The algorithm; one minibatch an epoch, authors' sizes, contrastive step due."""
    own = [(name, values)]
    if values.get("minibatch"):
        own.append((f"{name}, one minibatch", {**values, "minibatch": None}))
    if name in SCRIPTS:
        sized = composed([f"algo={name}", *SCRIPTS[name]]).values["algo"]
        own.append((f"{name}, the authors' script", sized))
    for label, each in own:
        yield label, each
        role = each.get("role", {})
        if role.get("contrastive") and role["contrastive_every"] > 1:
            due = {**role, "contrastive_every": 1}
            yield f"{label} + contrastive", {**each, "role": due}


def _row(name: str, values: dict[str, Any], length: int, peak: float) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from rolemarl_jax.learners import make_learner
    from rolemarl_jax.types import EnvSpec

    spec = EnvSpec("2s3z sizes", *SIZES, length)
    learner = make_learner(values, spec)
    state = jax.jit(learner.init)(jax.random.key(0))
    experience = random_batch(spec, length, ROWS)
    if learner.experience == "fresh":
        experience = as_fresh(experience, learner.carry(ROWS))
    at = jnp.zeros((), jnp.int32)
    args = (state, experience, at, jax.random.key(1))
    timing = measure(_several(learner.update), *args)
    seconds, gflop = busy(timing) / UPDATES, counted_gflop(learner.update, *args)
    size = sum(x.nbytes for x in jax.tree.leaves(state))
    return {
        "algo": name,
        "T": length,
        "seconds": seconds,
        "wall": timing.wall / UPDATES,
        "compile": timing.compile,
        "gflop": gflop,
        "gflop/s": gflop / seconds,
        "of peak": gflop / seconds / peak,
        "state, MiB a seed": size / 2**20,
        "working, MiB": timing.working / 2**20,
        "authors": AUTHORS.get((name, length)),
    }


def _several(update: Any) -> Any:
    """Updates one after the other on the same experience, and what they report."""
    import jax

    from rolemarl_jax.rng import named

    def run(state: Any, experience: Any, at: Any, key: Any) -> Any:
        def one(state: Any, i: Any) -> Any:
            out = update(state, experience, at, named(key, "update", i))
            return out.state, out.metrics

        return jax.lax.scan(one, state, jax.numpy.arange(UPDATES))

    return run


def random_batch(spec: Any, length: int, rows: int) -> Any:
    """A batch of full-length episodes of noise."""
    import jax
    import jax.numpy as jnp

    from rolemarl_jax.types import Batch

    keys = iter(jax.random.split(jax.random.key(2), 4))
    steps, many = (length + 1, rows), (length, rows)
    action = jax.random.randint(
        next(keys), (*many, spec.n_agents), 0, spec.n_actions, jnp.int32
    )
    first = jnp.arange(length + 1)[:, None] == 0
    return Batch(
        obs=jax.random.normal(next(keys), (*steps, spec.n_agents, spec.obs_dim)),
        state=jax.random.normal(next(keys), (*steps, spec.state_dim)),
        avail=jnp.ones((*steps, spec.n_agents, spec.n_actions), bool),
        last_action=jnp.concatenate([jnp.full_like(action[:1], -1), action]),
        reset=jnp.broadcast_to(first, steps),
        action=action,
        reward=jax.random.normal(next(keys), many),
        terminated=jnp.zeros(many, bool).at[-1].set(True),
        truncated=jnp.zeros(many, bool),
        mask=jnp.ones(many),
    )


def as_fresh(batch: Any, carry: Any) -> Any:
    """The same episodes as a block that a policy has just collected."""
    import jax
    import jax.numpy as jnp

    from rolemarl_jax.types import Observation, Trajectory

    length, rows = batch.reward.shape
    last = jax.tree.map(
        lambda x: x[-1:], Observation(batch.obs, batch.state, batch.avail)
    )
    # A block has room for one truncation, of which there is none, and for its end.
    final = jax.tree.map(lambda x: jnp.concatenate([x, x]), last)
    return Trajectory(
        **{
            name: getattr(batch, name)[:length]
            for name in Trajectory._fields
            if name not in ("carry", "final", "final_at")
        },
        carry=carry,
        final=final,
        final_at=jnp.array([[length], [length - 1]]) * jnp.ones((1, rows), jnp.int32),
    )
