"""R3DM: roles from dynamics models (Goel et al., ICML 2025).

ACORM with an intrinsic reward for roles that shape the future: how much an agent's
policy depends on its role, and how much better a world model that knows the role
predicts what the agent will see than one that does not (eq. 7, 9 and 10). Without
the reward it is ACORM, update for update.
"""

import logging
from dataclasses import fields, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.config import (
    Above0,
    ConfigError,
    Finite,
    Positive,
    UpTo1,
    config,
)
from rolemarl_jax.maps import entry_for
from rolemarl_jax.nets.agents import Recurrent, crossed, features
from rolemarl_jax.nets.rssm import RSSM
from rolemarl_jax.ops.intrinsic import policy_divergence
from rolemarl_jax.ops.td import masked_mean
from rolemarl_jax.reads import ReadWhen
from rolemarl_jax.rng import named
from rolemarl_jax.roles import acorm
from rolemarl_jax.roles.parts.foresight import foresee, stream
from rolemarl_jax.roles.parts.method import Intrinsic, RoleMethod, begun
from rolemarl_jax.roles.parts.phase import Context, Params, Phase
from rolemarl_jax.roles.parts.world_models import (
    MODELS,
    WorldConfig,
    init_model,
    make_models,
    world_phases,
)
from rolemarl_jax.types import AgentOut, Array, EnvSpec, Key, PyTree


@config
class Weights:
    """Weights of the intrinsic reward (paper's table 3).

    Attributes:
        alpha: of all of it.
        beta1: of what the role model predicts.
        beta2: of the latents.
        beta3: of the policies' divergence.
    """

    alpha: Finite
    beta1: Finite
    beta2: Finite
    beta3: Finite


@config
class Config(acorm.Config):
    """R3DM's role parts (key ``algo.role``), besides ACORM's, which it inherits.

    Attributes:
        intrinsic: whether there are world models and a reward at all.
        horizon: k, steps that the models look ahead, 1 to 10.
        alpha: see ``Weights``; ``None`` takes the map's number.
        beta1: likewise.
        beta2: likewise.
        beta3: likewise.
        temperature: of the own policy in the divergence; ``None`` takes beta1.
        per_map: weights by map (see ``maps.entry_for``), with an entry ``default``.
        clip: bound on the reward before alpha, ``None`` for none.
        normalise: step of a running mean square that the reward is divided by the
            root of, ``None`` for no such division.
        world: world models.
    """

    intrinsic: bool
    horizon: Positive
    alpha: Finite | None
    beta1: Finite | None
    beta2: Finite | None
    beta3: Finite | None
    temperature: Above0 | None
    per_map: dict[str, Weights]
    clip: Above0 | None
    normalise: UpTo1 | None
    world: WorldConfig


READ_WHEN = (
    *acorm.READ_WHEN,
    ReadWhen(
        (
            *("horizon", "alpha", "beta1", "beta2", "beta3", "temperature"),
            *("per_map", "clip", "normalise", "world"),
        ),
        lambda c: c.intrinsic,
        "algo.role.intrinsic=true",
    ),
)


class Setup(NamedTuple):
    """What the functions of the method share."""

    cfg: Config
    spec: EnvSpec
    base: RoleMethod
    utility: Recurrent
    models: dict[str, RSSM]


def make(cfg: Config, spec: EnvSpec) -> RoleMethod:
    """ACORM's method record with world models and an intrinsic reward.

    Raises:
        ConfigError: a horizon out of range, no default weights, or ACORM's faults.
    """
    if not 1 <= cfg.horizon <= 10:
        raise ConfigError(f"algo.role.horizon: got {cfg.horizon}, allowed: 1 to 10")
    base = acorm.make(cfg, spec)
    if not cfg.intrinsic:
        return base
    setup = Setup(
        cfg=cfg,
        spec=spec,
        base=base,
        utility=Recurrent(cfg.hidden, spec.n_actions, normed=cfg.normed),
        models=make_models(cfg.world, spec, cfg.role),
    )
    return replace(
        base,
        init=partial(_init, setup),
        init_aux=partial(_init_aux, setup),
        exact=(*base.exact, *MODELS),
        hypers={**base.hypers, **_weights(cfg, spec), "world_lr": cfg.world.lr},
        intrinsic=partial(intrinsic, setup),
        phases=_phases(setup),
    )


def _init(setup: Setup, key: Key) -> Params:
    models = {
        name: init_model(net, named(key, name)) for name, net in setup.models.items()
    }
    return {**setup.base.init(key), **models}


def _init_aux(setup: Setup, key: Key, params: Params) -> dict[str, PyTree]:
    copies = {name: jax.tree.map(jnp.copy, params[name]) for name in MODELS}
    own = setup.base.init_aux(key, params)
    return {**own, **copies, "intrinsic_square": jnp.ones(())}


def _weights(cfg: Config, spec: EnvSpec) -> dict[str, float]:
    """Weights of the reward: as given, else the map's, else the default ones.

    Raises:
        ConfigError: no entry ``default``.
    """
    if "default" not in cfg.per_map:
        raise ConfigError("algo.role.per_map: missing key default")
    chosen = {f.name: getattr(cfg, f.name) for f in fields(Weights)}
    where = spec.name.rpartition("/")[2]
    entry = entry_for(where, cfg.per_map)
    table = cfg.per_map[entry or "default"]
    missing = {n: getattr(table, n) for n, value in chosen.items() if value is None}
    if missing and entry is None:
        taken = ", ".join(f"{name}={value}" for name, value in missing.items())
        logging.getLogger(__name__).warning(
            "algo.role.per_map has no entry for %s; taking its default: %s",
            where,
            taken,
        )
    chosen |= missing
    return chosen | (
        {} if cfg.temperature is None else {"temperature": cfg.temperature}
    )


def intrinsic(setup: Setup, ctx: Context, out: AgentOut) -> Intrinsic:
    """The reward, a mean over agents: dead ones count, as in the authors' code."""
    batch, state, h = ctx.batch, ctx.state, ctx.state.hypers
    role, q = jax.lax.stop_gradient((out.feats["role"], out.q[:-1]))
    x = jax.tree.map(lambda part: part[:-1], batch.inputs)
    inputs = features(x, setup.utility.out, last_action=True, agent_id=False)
    h0 = begun(batch, setup.base.carry)["agent"]
    others = crossed(
        setup.utility, state.params["agent"], inputs, role[:-1], h0, batch.reset[:-1]
    ).astype(jnp.float32)  # as the values that they are compared with
    temperature = h.get("temperature", h["beta1"])
    keys = {name: stream(ctx.key, name) for name in MODELS}
    with_role, without = (
        foresee(
            setup.models[name],
            state.aux[name],
            batch,
            role,
            setup.cfg.horizon,
            keys[name],
        )
        for name in MODELS
    )
    terms = {
        "policy": h["beta3"] * policy_divergence(q, others, temperature),
        "dynamics": without.error - h["beta1"] * with_role.error,
        "latent": h["beta2"] * (h["beta1"] * with_role.latent - without.latent),
    }
    terms = {name: x.mean(-1) * batch.mask for name, x in terms.items()}
    return _weigh(setup.cfg, ctx, terms)


def _weigh(cfg: Config, ctx: Context, terms: dict[str, Array]) -> Intrinsic:
    """Normalises and clips where asked to, applies alpha, and reports every part.

    What it is normalised by is the mean square before this batch.
    """
    mask, state = ctx.batch.mask, ctx.state
    reward = terms["policy"] + terms["dynamics"] + terms["latent"]
    square = masked_mean(reward**2, mask)
    metrics = {f"intrinsic_{name}": masked_mean(x, mask) for name, x in terms.items()}
    metrics["intrinsic"] = masked_mean(reward, mask)
    metrics["intrinsic_square"] = square
    aux = {}
    if cfg.normalise is not None:
        old = state.aux["intrinsic_square"]
        reward = reward / jnp.sqrt(old + 1e-8)
        aux = {"intrinsic_square": old + cfg.normalise * (square - old)}
    if cfg.clip is not None:
        reward = jnp.clip(reward, -cfg.clip, cfg.clip)
    added = state.hypers["alpha"] * reward
    metrics["intrinsic_added"] = masked_mean(added, mask)
    return Intrinsic(added, metrics, aux)


def _roles(setup: Setup, ctx: Context) -> Array:
    """Roles `[T+1, B, N, Z]` of a batch, as the present parameters give them."""
    carry = begun(ctx.batch, setup.base.carry)
    feats, _ = setup.base.encode(ctx.state.params, ctx.batch.inputs, carry, None)
    return feats["role"]


def _phases(setup: Setup) -> tuple[Phase, ...]:
    """ACORM's phases, with the world models trained along with each.

    While the embedding is pre-trained the copies that the reward reads are exact.
    """
    exact, slow = (
        world_phases(setup.cfg.world, setup.models, partial(_roles, setup), exact=one)
        for one in (True, False)
    )
    pretrain = (
        replace(phase, also=exact if phase.name == "embedding" else slow)
        for phase in setup.base.phases
        if phase.stage == "pretrain"
    )
    train = (phase for phase in setup.base.phases if phase.stage == "train")
    return (*pretrain, *slow, *train)
