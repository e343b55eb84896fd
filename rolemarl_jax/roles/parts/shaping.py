"""Rewards that agents get besides the team's, for policy learners."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from rolemarl_jax.config import (
    ConfigError,
    Finite,
    NonNegative,
    Positive,
    Size,
    build,
    config,
    require_name,
)
from rolemarl_jax.roles.parts.classifier import (
    classifier_phase,
    make_classifier,
    paper_losses,
)
from rolemarl_jax.roles.parts.phase import Params, Phase
from rolemarl_jax.types import Array, EnvSpec, Key, LearnerState


@dataclass(frozen=True)
class Shaping:
    """A per-agent reward and what learns it.

    Attributes:
        bonus: ``(LearnerState, obs [..., N, O]) -> [..., N]``, added to the team's
            reward whenever a batch is used, so that it is never outdated.
        init: ``key -> {group: params}``.
        phases: gradient steps.
        hypers: initial values of its hyper-parameters.
    """

    bonus: Callable[[LearnerState, Array], Array]
    init: Callable[[Key], Params]
    phases: tuple[Phase, ...] = ()
    hypers: Mapping[str, float] = field(default_factory=dict)


@config
class NoneConfig:
    """No shaping (``algo.shaping``).

    Attributes:
        name: of the shaping, ``none``.
    """

    name: str


@config
class EoiConfig:
    """EOI's individuality reward (``algo.shaping``).

    Attributes:
        name: of the shaping, ``eoi``.
        alpha: weight of ``P(i | o_i) - 1 / N``; ``None`` takes that of the
            world's family.
        per_env: weights by family, with an entry ``default``.
        widths: hidden layers of the classifier.
        lr: its learning rate.
        positive_distance: beta_1, weight of its first regulariser.
        mutual_information: beta_2, weight of its second.
        window: steps that a positive may lie back.
    """

    name: str
    alpha: Finite | None
    per_env: dict[str, Finite]
    widths: tuple[Size, ...]
    lr: NonNegative
    positive_distance: NonNegative
    mutual_information: NonNegative
    window: Positive


def _none(_: NoneConfig, __: EnvSpec) -> Shaping:
    return Shaping(lambda _, obs: jnp.zeros(obs.shape[:-1]), lambda _: {})


def _eoi(cfg: EoiConfig, spec: EnvSpec) -> Shaping:
    """``r_i = r + alpha (P(i | o_i) - 1 / N)`` (EOI eq. 1, less what chance gives)."""
    net = make_classifier(cfg.widths, spec)
    learn = classifier_phase(
        paper_losses(net, cfg.window),
        {
            "positive_distance": cfg.positive_distance,
            "mutual_information": cfg.mutual_information,
        },
    )
    return Shaping(
        bonus=lambda state, obs: state.hypers["alpha"] * net.reward(state.params, obs),
        init=net.init,
        phases=(learn,),
        hypers={"classifier_lr": cfg.lr, "alpha": _alpha(cfg, spec)},
    )


def _alpha(cfg: EoiConfig, spec: EnvSpec) -> float:
    """Weight of the reward: as given, else the family's, else the default one.

    Raises:
        ConfigError: no entry ``default``.
    """
    if "default" not in cfg.per_env:
        raise ConfigError("algo.shaping.per_env: missing key default")
    if cfg.alpha is not None:
        return cfg.alpha
    return cfg.per_env.get(spec.name.partition("/")[0], cfg.per_env["default"])


_SHAPINGS: dict[str, tuple[type, Callable[[Any, EnvSpec], Shaping]]] = {
    "none": (NoneConfig, _none),
    "eoi": (EoiConfig, _eoi),
}


def make_shaping(values: Mapping[str, Any], spec: EnvSpec) -> Shaping:
    """Makes the shaping that ``algo.shaping`` describes.

    Raises:
        ConfigError: unknown name, unknown or ill-typed key.
    """
    name = require_name("algo.shaping.name", values.get("name"), _SHAPINGS)
    record, make = _SHAPINGS[name]
    return make(build(record, values, "algo.shaping"), spec)


def shaped(shaping: Shaping, state: LearnerState, reward: Array, obs: Array) -> Array:
    """Rewards of the agents: `[T, B]` and `[T, B, N, O]` to `[T, B, N]`."""
    return reward[..., None] + jax.lax.stop_gradient(shaping.bonus(state, obs))
