"""EOI's networks in plain NumPy, and states to try them with."""

import jax
import jax.numpy as jnp
import numpy as np
from support import SPEC, learner_of, load_algo

from rolemarl_jax.roles import make_method
from rolemarl_jax.types import LearnerState

N, A = SPEC.n_agents, SPEC.n_actions
GAMMA = 0.97


def update(algo, over, batch):
    learner = learner_of(algo, SPEC, over)
    state = jax.jit(learner.init)(jax.random.key(0))
    return learner.update(state, batch, 0, jax.random.key(1)).state


def method_of(algo, **keys):
    return make_method(load_algo(algo)["role"] | keys, SPEC)


def state_of(method):
    """A learner state whose targets differ from what they copy."""
    params = jax.jit(method.init)(jax.random.key(0))
    scaled = jax.tree.map(lambda p: 0.7 * p, params)
    aux = {"ivf": scaled["ivf"]}
    hypers = {"gamma": jnp.asarray(GAMMA)}
    return LearnerState(params, {"agent": scaled["agent"]}, {}, aux, hypers)


def phase_loss(method, name, ctx):
    phase = next(p for p in method.phases if p.name == name)
    return jax.jit(lambda ctx: phase.loss(ctx.state.params, ctx))(ctx)


def mlp(params, x, agent=None):
    """ReLU perceptron in NumPy, of one agent where each has its own weights."""
    layers = params["params"]
    for i in range(len(layers)):
        p = layers[f"Linear_{i}"]
        w, b = (np.asarray(p[n]) for n in ("kernel", "bias"))
        if agent is not None:
            w, b = w[agent], b[agent]
        x = x @ w + b
        x = np.maximum(x, 0) if i < len(layers) - 1 else x
    return x


def probabilities(params, obs):
    z = np.exp(mlp(params["classifier"], np.asarray(obs)))
    return z / z.sum(-1, keepdims=True)


def own(p):
    return np.stack([p[..., i, i] for i in range(N)], -1)


def q_of(method, params, batch):
    zeros = method.carry(batch.reward.shape[1])
    return method.q_values(params, batch.inputs, {}, zeros)[0].q


def intrinsic(params, obs, avail, q, shared, standardise=True):
    """Q^p in NumPy, `[T, B, N]`."""
    values = []
    if standardise:
        count = np.maximum(avail.sum(-1, keepdims=True), 1)
        mean = (q * avail).sum(-1, keepdims=True) / count
        variance = ((q - mean) ** 2 * avail).sum(-1, keepdims=True) / count
        q = (q - mean) * avail / np.sqrt(variance + 1e-5)
    for i in range(N):
        ids = np.broadcast_to(np.eye(N)[i], (*obs.shape[:2], N))
        seen = [obs[:, :, i], *([ids] if shared else []), q[:, :, i]]
        x = np.concatenate(seen, -1)
        values.append(mlp(params, x, None if shared else i)[..., 0])
    return np.stack(values, -1)
