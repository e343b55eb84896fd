"""Bytes of trees, and choices between them along leading axes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rolemarl_jax.trees import choose, tree_bytes, widened


def test_bytes_are_those_of_the_arrays():
    tree = {
        "a": jnp.zeros((3, 4)),
        "half": jnp.zeros(5, jnp.bfloat16),
        "bits": [np.zeros(7, bool), jnp.zeros((), jnp.uint8)],
        "nothing": (None, 3, "text"),
    }
    assert tree_bytes(tree) == 48 + 10 + 7 + 1
    assert tree_bytes(jax.eval_shape(lambda: tree["a"])) == 48
    assert tree_bytes(()) == 0


def test_bytes_of_typed_keys():
    """A key of the default kind is two words."""
    keys = jax.random.split(jax.random.key(0), 6)
    assert tree_bytes(keys) == 6 * jax.random.key_data(keys[0]).nbytes == 48
    assert tree_bytes(jax.eval_shape(lambda: keys)) == 48


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 1, 5)])
def test_a_mask_gets_the_axes_that_it_lacks(shape):
    mask = jnp.arange(6).reshape(2, 3) % 2 == 0
    wide = widened(mask, jnp.zeros(shape))
    assert wide.shape == (2, 3, *[1] * (len(shape) - 2)) and wide.dtype == bool
    np.testing.assert_array_equal(wide.reshape(2, 3), mask)


@pytest.mark.parametrize("shape", [(2,), (3, 2), (2, 4, 3)])
def test_a_mask_of_other_axes_is_refused(shape):
    with pytest.raises(AssertionError):
        widened(jnp.ones((2, 3), bool), jnp.zeros(shape))


def test_choices_row_by_row():
    mask = jnp.array([True, False, True])
    a, b = (jax.random.split(jax.random.key(seed), (3, 2)) for seed in (0, 1))

    def tree(keys, number):
        return {
            "keys": keys,
            "rows": jnp.full((3, 2, 2), number, jnp.bfloat16),
            "each": (jnp.full(3, number, jnp.int32), jnp.full((3, 1), number > 1)),
        }

    got = jax.jit(choose)(mask, tree(a, 1), tree(b, 2))
    assert got["rows"].dtype == jnp.bfloat16
    assert jax.dtypes.issubdtype(got["keys"].dtype, jax.dtypes.prng_key)
    for row, (number, keys) in enumerate(((1, a), (2, b), (1, a))):
        assert (got["rows"][row] == number).all()
        assert got["each"][0][row] == number and got["each"][1][row] == (number > 1)
        np.testing.assert_array_equal(
            *(jax.random.key_data(x[row]) for x in (got["keys"], keys))
        )
