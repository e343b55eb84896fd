"""Rewards that agents get besides the team's, for policy learners."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from rolemarl_jax.config import ConfigError, build, config, nearest
from rolemarl_jax.nets.identity import (
    IdentityClassifier,
    identity_losses,
    own_probability,
)
from rolemarl_jax.ops.optim import optimiser
from rolemarl_jax.rng import named
from rolemarl_jax.roles.base import Context, Losses, Metrics, Params, Phase
from rolemarl_jax.types import Array, EnvSpec, Key


@dataclass(frozen=True)
class Shaping:
    """A per-agent reward and what learns it.

    Attributes:
        bonus: ``(params, obs [..., N, O]) -> [..., N]``, added to the team's reward
            whenever a batch is used, so that it is never outdated.
        init: ``key -> {group: params}``. phases: gradient steps.
        hypers: initial values of its hyper-parameters.
    """

    bonus: Callable[[Params, Array], Array]
    init: Callable[[Key], Params]
    phases: tuple[Phase, ...] = ()
    hypers: Mapping[str, float] = field(default_factory=dict)


@config
class NoneConfig:
    """No shaping (``algo.shaping``)."""

    name: str


@config
class EoiConfig:
    """EOI's individuality reward (``algo.shaping``).

    Attributes:
        alpha: weight of ``P(i | o_i)``. widths: hidden layers of the classifier.
        lr: its learning rate. distance, entropy: beta_1 and beta_2, weights of its
            regularisers. window: steps that a positive may lie back.
    """

    name: str
    alpha: float
    widths: tuple[int, ...]
    lr: float
    distance: float
    entropy: float
    window: int


def _none(_: NoneConfig, __: EnvSpec) -> Shaping:
    return Shaping(lambda _, obs: jnp.zeros(obs.shape[:-1]), lambda _: {})


def _eoi(cfg: EoiConfig, spec: EnvSpec) -> Shaping:
    """``r_i = r + alpha P(i | o_i)`` (EOI eq. 1)."""
    net = IdentityClassifier(cfg.widths, spec.n_agents)

    def init(key: Key) -> Params:
        obs = jnp.zeros((1, spec.obs_dim))
        return {"classifier": net.init(named(key, "classifier"), obs)}

    def bonus(params: Params, obs: Array) -> Array:
        return cfg.alpha * own_probability(net.apply(params["classifier"], obs))

    def loss(params: Params, ctx: Context) -> tuple[Losses, Metrics]:
        steps = ctx.batch.reward.shape[0]
        obs, reset = ctx.batch.obs[:steps], ctx.batch.reset[:steps]
        log_p = net.apply(params["classifier"], obs)
        losses = identity_losses(log_p, reset, cfg.window, named(ctx.key, "positive"))
        return losses, {"own_probability": own_probability(log_p).mean()}

    learn = Phase(
        name="classifier",
        stage="train",
        lr={"classifier": "classifier_lr"},
        optimiser=optimiser("adam", 1e-8, {}),
        loss=loss,
        scales={"identity": 1.0, "distance": cfg.distance, "entropy": cfg.entropy},
    )
    return Shaping(bonus, init, (learn,), {"classifier_lr": cfg.lr})


_SHAPINGS: dict[str, tuple[type, Callable[[Any, EnvSpec], Shaping]]] = {
    "none": (NoneConfig, _none),
    "eoi": (EoiConfig, _eoi),
}


def make_shaping(values: Mapping[str, Any], spec: EnvSpec) -> Shaping:
    """Makes the shaping that ``algo.shaping`` describes.

    Raises:
        ConfigError: unknown name, unknown or ill-typed key.
    """
    name = values.get("name", "")
    if name not in _SHAPINGS:
        known = nearest(name, _SHAPINGS)
        raise ConfigError(f"algo.shaping.name: got '{name}'; {known}")
    record, make = _SHAPINGS[name]
    return make(build(record, values, "algo.shaping"), spec)


def shaped(shaping: Shaping, params: Params, reward: Array, obs: Array) -> Array:
    """Rewards of the agents: `[T, B]` and `[T, B, N, O]` to `[T, B, N]`."""
    return reward[..., None] + jax.lax.stop_gradient(shaping.bonus(params, obs))
