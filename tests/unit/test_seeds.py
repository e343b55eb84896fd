"""Functions of one seed become functions of many."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rolemarl_jax.program.seeds import in_place


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("size", [None, 1, 3])
def test_groups_of_any_number_of_seeds(count, size):
    """Also of fewer than are batched together: a device's own, or a last chunk."""

    def one(state):
        return {"x": state["x"] + 1}, 2 * state["x"].sum()

    states = {"x": jnp.arange(2.0 * count).reshape(count, 2)}
    got = jax.jit(lambda states: in_place(one, states, size))(states)
    for mine, expected in zip(
        jax.tree.leaves(got), jax.tree.leaves(jax.vmap(one)(states)), strict=True
    ):
        np.testing.assert_array_equal(mine, expected)
