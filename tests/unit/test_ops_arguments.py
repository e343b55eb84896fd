"""Arguments of another rank or kind than an operation promises are refused."""

import importlib
import pkgutil
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from rolemarl_jax import ops
from rolemarl_jax.ops import (
    cluster,
    contrastive,
    gae,
    identity,
    info,
    intrinsic,
    latent,
    latent_scan,
    optim,
    role_stats,
    scan,
    scan_kernel,
    td,
)
from rolemarl_jax.ops.info import Gaussian
from rolemarl_jax.ops.latent_scan import Matrices, Norm, Sequence, Vectors

T, B, N, A, Z, H, D, S, C, K = 5, 2, 3, 4, 6, 8, 9, 2, 3, 4
MODULES = [
    importlib.import_module(f"{ops.__name__}.{found.name}")
    for found in pkgutil.iter_modules(ops.__path__)
]


def like(kind, *shape):
    return jax.ShapeDtypeStruct(shape, kind)


f, i, b = (partial(like, kind) for kind in (jnp.float32, jnp.int32, jnp.bool_))
KEY = jax.random.key(0)
P, Q = (Gaussian(f(T, B, N, Z), f(T, B, N, Z)) for _ in range(2))
NORM = Norm(f(H), f(H))
MATRICES = Matrices(f(S * C, H), f(H + D, 3 * D), f(D, H), f(H, S * C))
VECTORS = Vectors(NORM, Norm(f(3 * D), f(3 * D)), NORM, f(S * C), f(D), f(S, C))
SEQUENCE = Sequence(f(T, B, N, H), f(T, B, N, H), f(T, B, N, S), b(T, B))
TBN = f(T, B, N)
R = 16  # rows and width of a kernel's smallest tile
ROWS = [f(T, R, 3 * R), f(R, 3 * R), f(3 * R), f(R), f(R, R), f(T, R)]

# Operation, arguments that fit, and which of their arrays may have more axes ("rank")
# or numbers of any kind ("kind").
CASES = {
    "cluster.kmeans": (
        lambda x, alive: cluster.kmeans(x, 2, 3, alive),
        [f(B, N, Z), b(B, N)],
        {},
    ),
    "contrastive.bilinear_info_nce": (
        contrastive.bilinear_info_nce,
        [f(T, N, Z), f(T, N, Z), f(Z, Z), i(T, N), b(T, N)],
        {},
    ),
    "gae.gae": (gae.gae, [TBN, TBN, TBN, b(T, B), b(T, B), f(), f()], {"kind": {5, 6}}),
    "gae.following": (gae.following, [TBN, f(K, B, N), i(K, B)], {}),
    "gae.standardised": (gae.standardised, [TBN, TBN], {}),
    "gae.track": (
        lambda *m: gae.track(gae.Moments(*m[:3]), m[3], m[4], 0.9),
        [f(), f(), f(), TBN, f(T, B)],
        {"rank": {3}},
    ),
    "gae.location_scale": (
        lambda *m: gae.location_scale(gae.Moments(*m)),
        [f(), f(), f()],
        {},
    ),
    "identity.positives": (
        lambda p, reset: identity.positives(p, reset, 2, KEY),
        [f(T, B, N, K), b(T, B)],
        {},
    ),
    "identity.losses": (identity.losses, [f(T, B, N, N)], {"rank": {0}}),
    "identity.positive_distance": (
        lambda p, reset: identity.positive_distance(p, reset, 2, KEY),
        [f(T, B, N, N), b(T, B)],
        {},
    ),
    "identity.cross_entropy": (identity.cross_entropy, [TBN, TBN], {}),
    "info.sample": (lambda p: info.sample(p, KEY), [P], {}),
    "info.entropy": (info.entropy, [P], {}),
    "info.kl": (info.kl, [P, Q], {}),
    "info.log_density": (info.log_density, [P, f(T, B, N, Z)], {"rank": {2}}),
    "info.identifiability": (
        lambda p, q: info.identifiability(p, q, 1.0, 1.0),
        [P, Q],
        {},
    ),
    "info.soften": (lambda x: info.soften(x, 1.0), [TBN], {"rank": {0}}),
    "info.specialisation": (
        lambda p, others, d: info.specialisation(p, others, d, 1.0, 1.0),
        [P, f(T, B, N, N, Z), f(T, B, N, N)],
        {},
    ),
    "intrinsic.policy_divergence": (
        intrinsic.policy_divergence,
        [f(T, N, A), f(T, N, N, A), f()],
        {"kind": {2}},
    ),
    "intrinsic.rows_ahead": (
        lambda x, steps: intrinsic.rows_ahead(x, steps, 2),
        [TBN, i()],
        {"rank": {0}, "kind": {0}},
    ),
    "latent.mixed_log_probs": (
        lambda x: latent.mixed_log_probs(x, 0.1),
        [f(S, C)],
        {"rank": {0}},
    ),
    "latent.straight_through": (latent.straight_through, [f(B, S, C), f(B, S)], {}),
    "latent.start_latent": (latent.start_latent, [f(S, C)], {"rank": {0}}),
    "latent.kl": (latent.kl, [f(B, S, C), f(B, S, C)], {}),
    "latent.balanced_kl": (
        lambda p, q: latent.balanced_kl(p, q, 0.5, 0.1, 1.0),
        [f(B, S, C), f(B, S, C)],
        {},
    ),
    "latent.symlog": (latent.symlog, [TBN], {"rank": {0}}),
    "latent.symlog_error": (latent.symlog_error, [TBN, TBN], {}),
    "latent_scan.layer_norm": (latent_scan.layer_norm, [f(B, H), NORM], {"rank": {0}}),
    "latent_scan.activation": (latent_scan.activation, [f(B, H), NORM], {"rank": {0}}),
    "latent_scan.gates": (
        latent_scan.gates,
        [f(B, 3 * D), f(B, D), Norm(f(3 * D), f(3 * D))],
        {},
    ),
    "latent_scan.observe": (
        partial(latent_scan.observe, 0.1),
        [MATRICES, VECTORS, SEQUENCE],
        {},
    ),
    "latent_scan.observe, differentiated": (
        jax.grad(lambda *x: latent_scan.observe(0.1, *x).deter.sum()),
        [MATRICES, VECTORS, SEQUENCE],
        {"kind": {0, 1, 2, 3}},
    ),
    "optim.soft_update": (
        optim.soft_update,
        [{"a": f(N)}, {"a": f(N)}, f()],
        {"kind": {2}},
    ),
    "optim.step_decay": (optim.step_decay(0.5, 10), [i()], {}),
    "optim.clipped_each": (
        lambda *x: optim.clipped_each(1.0).update(x, ()),
        [f(N, A), f(N)],
        {"kind": {0, 1}},
    ),
    "role_stats.mean_where": (role_stats.mean_where, [TBN, b(T, B, N)], {}),
    "role_stats.draw": (lambda x: role_stats.draw(x, 2, KEY), [b(N)], {}),
    "role_stats.centres": (
        lambda x, there: role_stats.centres(x, there, 2, 3),
        [f(N, Z), b(N)],
        {},
    ),
    "role_stats.nearest": (role_stats.nearest, [f(T, N, Z), f(K, Z)], {"rank": {0}}),
    "role_stats.shares": (
        lambda x, there: role_stats.shares(x, there, 2),
        [i(T, N), b(T, N)],
        {},
    ),
    "role_stats.silhouette": (
        lambda x, labels, there: role_stats.silhouette(x, labels, there, 2),
        [f(N, Z), i(N), b(N)],
        {},
    ),
    "role_stats.mutual_information": (
        lambda *x: role_stats.mutual_information(*x, (2, 3)),
        [i(T, N), i(T, N), b(T, N)],
        {},
    ),
    "role_stats.switching": (role_stats.switching, [i(T, N), b(T, N)], {}),
    "role_stats.jensen_shannon": (
        role_stats.jensen_shannon,
        [f(B, A), f(B, A), b(B, A)],
        {},
    ),
    "role_stats.attention": (role_stats.attention, [f(T, H, N, N), b(T)], {}),
    "scan.gru": (
        scan.gru,
        [f(T, B, N, 3 * H), f(H, 3 * H), f(3 * H), f(3 * H), f(B, N, H), b(T, B)],
        {},
    ),
    "scan.gru, differentiated": (
        jax.grad(lambda *x: scan.gru(*x).sum()),
        [f(T, B, N, 3 * H), f(H, 3 * H), f(3 * H), f(3 * H), f(B, N, H), b(T, B)],
        {"kind": {0}},
    ),
    "scan_kernel.forward": (scan_kernel.forward, ROWS, {}),
    "scan_kernel.backward": (
        scan_kernel.backward,
        [*ROWS, f(T, R, R), f(T, R, R)],
        {},
    ),
    "td.mask_unavailable": (td.mask_unavailable, [f(B, N, A), b(B, N, A)], {}),
    "td.standardised_available": (
        td.standardised_available,
        [f(B, N, A), b(B, N, A)],
        {},
    ),
    "td.chosen": (td.chosen, [f(B, N, A), i(B, N)], {}),
    "td.lambda_targets": (
        td.lambda_targets,
        [f(T, B), b(T, B), f(T, B), TBN, f(), f()],
        {"kind": {4, 5}},
    ),
    "td.scale_gradient": (td.scale_gradient, [TBN, f(T, B, 1)], {}),
    "td.masked_mean": (td.masked_mean, [TBN, f(T, B)], {}),
}
# What takes no array, or is nothing but a rearrangement of one.
PLAIN = {
    "gae.no_moments",
    "identity.own",
    "info.shifted",
    "optim.optimiser",
    "optim.scaled",
    "scan.computed_as",
    "scan.resolved",
    # Read references, whose shapes their kernels' calls have checked.
    "gru_program.backward_program",
    "gru_program.forward_program",
    "scan_kernel.fits",
    "scan_kernel.padded",
}


def spoiled(args, free):
    """The arguments with one array of another rank, or of another kind, at a time."""
    leaves, tree = jax.tree.flatten(args)
    for at, x in enumerate(leaves):
        other = jnp.int32 if jnp.issubdtype(x.dtype, jnp.floating) else jnp.float32
        for change, bad in (
            ("rank", like(x.dtype, 7, *x.shape)),
            ("kind", like(other, *x.shape)),
        ):
            if at not in free.get(change, ()):
                yield (
                    f"{change} of {at}",
                    tree.unflatten([*leaves[:at], bad, *leaves[at + 1 :]]),
                )


@pytest.mark.parametrize("name", CASES)
def test_only_what_fits_is_taken(name):
    operation, args, free = CASES[name]
    # Not the same function, lest a trace that went well is remembered.
    jax.eval_shape(lambda *x: operation(*x), *args)
    for what, bad in spoiled(args, free):
        with pytest.raises(AssertionError) as error:
            jax.eval_shape(lambda *x: operation(*x), *bad)
        assert "[Chex]" in str(error.value), what


def test_any_precision_will_do():
    half = partial(like, jnp.bfloat16)
    masked = jax.eval_shape(td.mask_unavailable, half(N, A), b(N, A))
    drawn = jax.eval_shape(latent.straight_through, half(B, S, C), f(B, S))
    assert (masked.shape, masked.dtype) == ((N, A), jnp.bfloat16)
    assert (drawn.shape, drawn.dtype) == ((B, S, C), jnp.bfloat16)


@pytest.mark.parametrize(
    "operation,args",
    [
        (identity.own, [f(N, A)]),
        (info.shifted, [f(N)]),
        (cluster.kmeans, [f(N), 2, 1]),
        (td.lambda_targets, [f(T), b(T), f(T), f(T), f(), f()]),
    ],
)
def test_too_few_axes_are_refused(operation, args):
    with pytest.raises(AssertionError):
        jax.eval_shape(lambda: operation(*jax.tree.map(zeros, args)))


def zeros(x):
    return jnp.zeros(x.shape, x.dtype) if isinstance(x, jax.ShapeDtypeStruct) else x


def test_no_operation_is_forgotten():
    found = {
        f"{module.__name__.rpartition('.')[2]}.{name}"
        for module in MODULES
        for name, value in vars(module).items()
        if callable(value) and not isinstance(value, type) and name[0] != "_"
        if getattr(value, "__module__", None) == module.__name__
    }
    differentiated = {name for name in CASES if "," in name}
    assert found == (CASES.keys() - differentiated) | PLAIN
