"""EOI's classifier of agents by what they observe, which all its forms share.

Jiang and Lu 2021 (arXiv:2006.05842), eq. 2, 4 and 5.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from rolemarl_jax.nets.layers import MLP
from rolemarl_jax.ops import identity
from rolemarl_jax.ops.optim import optimiser
from rolemarl_jax.ops.td import masked_mean
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.phase import (
    Context,
    LossFn,
    LossOut,
    Metrics,
    Params,
    Phase,
)
from rolemarl_jax.types import Array, EnvSpec, Key


@dataclass(frozen=True)
class Classifier:
    """``P(I | o)``, one network for all agents.

    Attributes:
        init: ``key -> {"classifier": params}``.
        log_p: ``(params, obs [..., N, O]) -> [..., N, N]``, log-probabilities of each
            index given each agent's observation.
    """

    init: Callable[[Key], Params]
    log_p: Callable[[Params, Array], Array]

    def own(self, params: Params, obs: Array) -> Array:
        """``P(i | o_i)``: `[..., N, O]` to `[..., N]`."""
        return jnp.exp(identity.own(self.log_p(params, obs)))

    def reward(self, params: Params, obs: Array) -> Array:
        """``P(i | o_i) - 1 / N``, the intrinsic reward: `[..., N, O]` to `[..., N]`.

        The paper's is ``P``. What chance gives is taken off, so that an agent is paid
        for being known, not for a long episode; where all episodes are equally long
        that is the same task.
        """
        return self.own(params, obs) - 1.0 / obs.shape[-2]


def make_classifier(widths: tuple[int, ...], spec: EnvSpec) -> Classifier:
    """ReLU layers of the given widths and a softmax over the agents."""
    net = MLP((*widths, spec.n_agents))

    def init(key: Key) -> Params:
        obs = jnp.zeros((1, spec.obs_dim))
        return {"classifier": net.init(named(key, "classifier"), obs)}

    def log_p(params: Params, obs: Array) -> Array:
        return jax.nn.log_softmax(net.apply(params["classifier"], obs))

    return Classifier(init, log_p)


def classifier_phase(loss: LossFn, regularisers: Mapping[str, float]) -> Phase:
    """The classifier's gradient step on every batch, with weights of its losses."""
    return Phase(
        name="classifier",
        stage="train",
        lr={"classifier": "classifier_lr"},
        optimiser=optimiser("adam", 1e-8, {}),
        loss=loss,
        scales={"identity": 1.0, **regularisers},
    )


def paper_losses(net: Classifier, window: int) -> LossFn:
    """Eq. 5: cross entropies with the index, with a positive and with itself.

    Args:
        window: steps that a positive may lie back, 1 or more.
    """

    def loss(params: Params, ctx: Context) -> LossOut:
        steps = ctx.batch.reward.shape[0]
        log_p = net.log_p(params, ctx.batch.obs[:steps])
        losses = identity.losses(log_p)
        losses["positive_distance"] = identity.positive_distance(
            log_p, ctx.batch.reset[:steps], window, ctx.key
        )
        return LossOut(losses, certainty(log_p, ctx.batch.mask))

    return loss


def certainty(log_p: Array, mask: Array) -> Metrics:
    """How well agents are told apart, over real steps and agents.

    Metrics ``probability``, the mean of ``P(i | o_i)``; ``accuracy``, how often i is
    the likeliest; and ``chance``, what both are of one who knows nothing, 1/N.
    """
    n = log_p.shape[-1]
    right = (log_p.argmax(-1) == jnp.arange(n)).astype(jnp.float32)
    return {
        "probability": masked_mean(jnp.exp(identity.own(log_p)), mask),
        "accuracy": masked_mean(right, mask),
        "chance": jnp.full((), 1 / n),
    }
