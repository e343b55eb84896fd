"""How a function of one seed becomes a function of many."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rolemarl_jax import members
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.types import Array, PyTree


def batched(cfg: RunConfig, devices: list[Any]) -> bool:
    """Whether seeds are batched by vmap on these devices."""
    by = cfg.train.seeds_by
    return by == "vmap" or (by == "auto" and devices[0].platform != "cpu")


def spread(cfg: RunConfig, devices: list[Any]) -> NamedSharding:
    """Where members lie: their axis is split over the devices, at least one on each."""
    count = min(len(devices), members.count(cfg))
    mesh = Mesh(np.array(devices[:count]), ("seed",))
    return NamedSharding(mesh, PartitionSpec("seed"))


def over_seeds(
    cfg: RunConfig, devices: list[Any]
) -> tuple[Callable[..., Callable], int]:
    """How functions of one seed become functions of many, and of how many.

    Where hyper-parameters are swept, "seed" means a member (`rolemarl_jax.members`).
    Seeds are split evenly over the devices; on each they are mapped one after another
    inside the program (a CPU is faster so, and branches that depend on data survive)
    or batched by vmap, all of them or ``train.seeds_together`` at a time.

    Returns:
        ``over(f, unbatched, donated)`` for ``f(state, *unbatched arguments)``, where
        ``donated`` says that ``f`` returns a new state and a report; and the number
        of seeds, those asked for and as many more as keep all devices equally busy.
    """
    asked = members.count(cfg)
    mesh = spread(cfg, devices).mesh
    together = cfg.train.seeds_together
    by_vmap = batched(cfg, devices)

    def over(f: Callable, *, unbatched: int = 0, donated: bool = False) -> Callable:
        def seeds(states: PyTree, *shared: Any) -> PyTree:
            one = partial(_with, f, shared)
            if by_vmap and together is None:
                return jax.vmap(one)(states)
            size = together if by_vmap else None
            if donated:
                return in_place(one, states, size)
            return jax.lax.map(one, states, batch_size=size)

        specs = (PartitionSpec("seed"), *[PartitionSpec()] * unbatched)
        return jax.shard_map(
            seeds,
            mesh=mesh,
            in_specs=specs,
            out_specs=PartitionSpec("seed"),
            check_vma=False,
        )

    return over, -(-asked // mesh.size) * mesh.size


def in_place(
    one: Callable[[PyTree], tuple[PyTree, PyTree]], states: PyTree, size: int | None
) -> tuple[PyTree, PyTree]:
    """``lax.map`` of ``state -> (state, report)`` that keeps every state once.

    ``lax.map`` writes its results beside its arguments; here each new state takes the
    place of the old one. Replay makes the difference.

    Args:
        states: leaves `[seeds, ...]`.
        size: how many states ``vmap`` batches at a time; ``None``: one, unbatched.
    """
    count = len(jax.tree.leaves(states)[0])
    # A device may have fewer seeds than are batched elsewhere: then all of its own.
    size = None if size is None else min(size, count)
    width = size or 1
    first = jax.tree.map(lambda x: jax.eval_shape(lambda y: y[0], x), states)
    reports = jax.tree.map(
        lambda x: jnp.zeros((count, *x.shape), x.dtype), jax.eval_shape(one, first)[1]
    )

    def many(part: PyTree) -> tuple[PyTree, PyTree]:
        if size is not None:
            return jax.vmap(one)(part)
        alone = one(jax.tree.map(lambda x: x[0], part))
        return jax.tree.map(lambda x: x[None], alone)

    def group(carry: tuple[PyTree, PyTree], at: Array | int, width: int) -> Any:
        part = jax.tree.map(
            lambda x: jax.lax.dynamic_slice_in_dim(x, at, width), carry[0]
        )
        return jax.tree.map(
            lambda whole, new: jax.lax.dynamic_update_slice_in_dim(whole, new, at, 0),
            carry,
            many(part),
        )

    groups, rest = divmod(count, width)
    done = jax.lax.fori_loop(
        0, groups, lambda i, carry: group(carry, i * width, width), (states, reports)
    )
    return group(done, groups * width, rest) if rest else done


def _with(f: Callable, shared: tuple, state: PyTree) -> PyTree:
    return f(state, *shared)
