"""The recurrence as one kernel each way, imitated on a CPU, against the scan."""

import warnings
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import SPEC, random_batch, small_algo

from rolemarl_jax.config import ConfigError
from rolemarl_jax.learners import make_learner
from rolemarl_jax.ops import scan, scan_kernel

W16 = {"hidden": 16}
DTYPES = {"float32": (1e-5, 1e-4), "bfloat16": (0.05, 0.2)}


def arguments(steps, rows, width, resets, dtype, seed):
    k = jax.random.split(jax.random.key(seed), 7)
    made = (
        jax.random.normal(k[0], (steps, *rows, 3 * width)),
        width**-0.5 * jax.random.normal(k[1], (width, 3 * width)),
        0.5 * jax.random.normal(k[2], (3 * width,)),
        0.5 * jax.random.normal(k[3], (3 * width,)),
        jax.random.normal(k[4], (*rows, width)),
    )
    reset = jax.random.bernoulli(k[5], resets, (steps, rows[0]))
    grad = jax.random.normal(k[6], (steps, *rows, width))
    return [x.astype(dtype) for x in made], reset, grad.astype(dtype)


def imitated(monkeypatch, args, reset, grad):
    """States and gradients as a card's program would compute them."""
    for name in ("forward", "backward"):
        kernel = getattr(scan_kernel, name)
        monkeypatch.setattr(
            scan_kernel, name, lambda *a, kernel=kernel: kernel(*a, interpret=True)
        )
    hs = scan._on_card(*args, reset)
    return hs, scan._on_card_back(*args, reset, hs, grad)


def compare(steps, rows, width, resets, dtype, seed):
    args, reset, grad = arguments(steps, rows, width, resets, dtype, seed)

    @jax.jit
    def scanned(*args):
        hs, back = jax.vjp(lambda *a: scan.gru(*a, reset), *args)
        return hs, back(grad)

    with pytest.MonkeyPatch.context() as patch:
        kernel = jax.jit(lambda *a: imitated(patch, a, reset, grad))(*args)
    (want, back), (hs, found) = scanned(*args), kernel
    ahead, behind = DTYPES[dtype]
    as32 = lambda x: np.asarray(x, np.float32)  # noqa: E731
    np.testing.assert_allclose(as32(hs), as32(want), atol=ahead)
    for got, expected in zip(found, back, strict=True):
        assert got.shape == expected.shape and got.dtype == expected.dtype
        scale = 1 + np.abs(as32(expected)).max()
        np.testing.assert_allclose(
            as32(got) / scale, as32(expected) / scale, atol=behind
        )


@pytest.mark.parametrize(
    ("rows", "width", "dtype"),
    [((2, 3), 16, "float32"), ((32,), 32, "bfloat16"), ((4,), 128, "float32")],
)
def test_states_and_gradients_are_those_of_the_scan(rows, width, dtype):
    compare(3, rows, width, 0.4, dtype, 0)


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    steps=st.integers(2, 5),
    rows=st.sampled_from([(1, 3), (32,), (4, 5), (16, 3), (2, 3, 4)]),
    width=st.sampled_from([16, 64, 128]),
    resets=st.sampled_from([0.0, 0.4, 1.0]),
    dtype=st.sampled_from(sorted(DTYPES)),
    seed=st.integers(0, 99),
)
def test_random_shapes(steps, rows, width, resets, dtype, seed):
    compare(steps, rows, width, resets, dtype, seed)


def test_on_a_cpu_a_scan_computes_the_same():
    args, reset, grad = arguments(3, (2, 4), 16, 0.3, "float32", 0)
    want, back = jax.vjp(lambda *a: scan.gru(*a, reset), *args)
    with scan.computed_as("kernel"):
        hs, again = jax.vjp(lambda *a: scan.gru(*a, reset), *args)
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, (hs, *again(grad)), (want, *back(grad)))


@pytest.mark.parametrize(("width", "kernels"), [(32, 1), (48, 0), (8, 0), (256, 0)])
def test_widths_that_no_program_holds_are_scanned(width, kernels):
    def traced(steps):
        args, reset, _ = arguments(steps, (2,), width, 0.0, "float32", 0)
        with scan.computed_as("kernel"):
            return str(jax.make_jaxpr(scan.gru)(*args, reset)).count("gru_forward")

    assert bool(traced(3)) == bool(kernels)
    assert traced(1) == 0, "one step needs no kernel"


@pytest.mark.parametrize(
    ("capability", "width", "dtype", "taken"),
    [
        ("9.0", 128, "float32", True),
        ("8.0", 128, "float32", False),
        ("8.0", 128, "bfloat16", True),
        ("8.0", 64, "float32", True),
        ("8.9", 64, "float32", False),
        ("6.1", 32, "float32", True),
        ("6.1", 64, "bfloat16", True),
        ("6.1", 128, "bfloat16", False),
    ],
)
def test_a_card_without_room_scans_and_says_so_once(
    monkeypatch, capability, width, dtype, taken
):
    card = SimpleNamespace(compute_capability=capability)
    monkeypatch.setattr(scan_kernel.jax, "devices", lambda: [card])
    scan_kernel._has_room.cache_clear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert [scan_kernel.fits(width, dtype) for _ in range(2)] == [taken] * 2
    assert len(said) == (not taken)
    for one in said:
        assert f"{width} units" in str(one.message)
        assert f"capability {capability}" in str(one.message)
    scan_kernel._has_room.cache_clear()


def test_auto_is_the_kernel_where_there_is_a_card(monkeypatch):
    batch = random_batch(SPEC, B=4, seed=0, lengths=[6, 3, 5, 1])

    def kernels(form):
        learner = make_learner(
            small_algo("iql", {"recurrence": form, "role": W16}), SPEC
        )
        state = jax.eval_shape(learner.init, jax.random.key(0))
        key = jax.random.key(1)
        return str(jax.make_jaxpr(learner.update)(state, batch, 0, key)).count("gru_")

    assert kernels("auto") == kernels("scan") == 0 < kernels("kernel")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert kernels("auto") == kernels("kernel")


def test_an_update_is_the_same_in_both_forms():
    batch = random_batch(SPEC, B=4, seed=0, lengths=[6, 3, 5, 1])
    found = []
    for form in ("scan", "kernel"):
        learner = make_learner(small_algo("iql", {"recurrence": form}), SPEC)
        state = learner.init(jax.random.key(0))
        out = learner.update(state, batch, jnp.int32(0), jax.random.key(1))
        found.append(float(out.metrics["td/loss_td"]))
    np.testing.assert_allclose(*found, rtol=1e-6)
    with pytest.raises(ConfigError, match=r"algo\.recurrence.*kernel"):
        make_learner(small_algo("iql", {"recurrence": "loop"}), SPEC)
