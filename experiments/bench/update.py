"""Seconds of one learner update at the sizes of SMAC's 2s3z, for every algorithm."""

from typing import Any

from experiments.bench.timing import busy, counted_gflop, measure, peak_gflops
from experiments.compose import composed, groups

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
}
SIZES = {"n_agents": 5, "n_actions": 11, "obs_dim": 80, "state_dim": 120}
ROWS = 32


def run(options: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each algorithm and length, and one with the contrastive step due.

    Args:
        options: ``algo`` (names; all if empty) and ``lengths``.
    """
    peak = peak_gflops()
    rows = []
    for name in options["algo"] or groups()["algo"]:
        values = composed([f"algo={name}"]).values["algo"]
        for length in options["lengths"]:
            rows.append(_row(name, values, length, peak))
            if values["role"].get("contrastive_every", 1) > 1:
                role = {**values["role"], "contrastive_every": 1}
                due = {**values, "role": role}
                rows.append(_row(f"{name} + contrastive", due, length, peak))
    return rows


def _row(name: str, values: dict[str, Any], length: int, peak: float) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from rolemarl_jax.learners import make_learner
    from rolemarl_jax.types import EnvSpec

    spec = EnvSpec(name="2s3z sizes", episode_limit=length, **SIZES)
    learner = make_learner(values, spec)
    state = learner.init(jax.random.key(0))
    at = jnp.zeros((), jnp.int32)
    args = (state, random_batch(spec, length, ROWS), at, jax.random.key(1))
    timing = measure(learner.update, *args)
    gflop = counted_gflop(learner.update, *args)
    return {
        "algo": name,
        "T": length,
        "seconds": busy(timing),
        "wall": timing.wall,
        "compile": timing.compile,
        "gflop": gflop,
        "gflop/s": gflop / busy(timing),
        "of peak": gflop / busy(timing) / peak,
        "authors": AUTHORS.get((name, length)),
    }


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
