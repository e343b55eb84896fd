"""Acting for whichever workers are ready, in a batch of a fixed shape."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rolemarl_jax.learners.parts.phases import Learner
from rolemarl_jax.types import Array, Key, LearnerState, Observation, PyTree


class Rows(NamedTuple):
    """What agents remember, a row for each worker; it stays on the device."""

    carry: PyTree  # [W, ...]
    last_action: Array  # [W, N]


Act = Callable[..., tuple[Array, Rows]]


def make_act(learner: Learner, greedy: bool) -> Act:
    """The compiled policy: ``(state, Rows, Observation [W, ...], ready [W], fresh
    [W], env steps, key) -> (actions [W, N], Rows)``.

    Rows that are not ``ready`` keep what they remember; those that are ``fresh``
    begin an episode. Only values change between calls, so it is compiled once.
    """  # noqa: D205

    def act(
        state: LearnerState,
        rows: Rows,
        seen: Observation,
        ready: Array,
        fresh: Array,
        t: Array,
        key: Key,
    ) -> tuple[Array, Rows]:
        last = jnp.where(fresh[:, None], -1, rows.last_action)
        if greedy:
            actions, carry, _ = learner.greedy(state, rows.carry, seen, last, fresh)
        else:
            epsilon = learner.epsilon(t)
            actions, carry = learner.act(
                state, rows.carry, seen, last, fresh, epsilon, key
            )

        def keep(new: Array, old: Array) -> Array:
            return jnp.where(
                ready.reshape(ready.shape + (1,) * (new.ndim - 1)), new, old
            )

        carry = jax.tree.map(keep, carry, rows.carry)
        return actions, Rows(carry, keep(actions, rows.last_action))

    return jax.jit(act, donate_argnums=1)


class Actor:
    """A policy with the memory of its agents."""

    def __init__(self, learner: Learner, workers: int, act: Act, key: Key) -> None:
        spec = learner.spec
        self._act, self._key, self._calls = act, key, 0
        # Copies: a carry may hold one array twice, and rows are donated.
        carry = jax.tree.map(jnp.copy, learner.carry(workers))
        last = jnp.full((workers, spec.n_agents), -1, jnp.int32)
        self._rows = Rows(carry, last)

    def __call__(
        self,
        state: LearnerState,
        seen: Observation,
        ready: np.ndarray,
        fresh: np.ndarray,
        t: int,
    ) -> np.ndarray:
        """Actions `[W, N]`; those of workers that are not ready mean nothing."""
        key = jax.random.fold_in(self._key, self._calls)
        self._calls += 1
        actions, self._rows = self._act(
            state, self._rows, seen, ready, fresh, jnp.asarray(t, jnp.int32), key
        )
        return np.asarray(actions)


def stack(shape: Any, workers: int) -> Observation:
    """Host arrays that the newest observation of each worker is copied into."""
    arrays: Any = (
        np.zeros((workers, shape.n_agents, shape.obs_dim), np.float32),
        np.zeros((workers, shape.state_dim), np.float32),
        np.ones((workers, shape.n_agents, shape.n_actions), bool),
    )
    return Observation(*arrays)
