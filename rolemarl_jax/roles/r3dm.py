"""R3DM: roles from dynamics models (Goel et al., ICML 2025).

ACORM with an intrinsic reward for roles that shape the future: how much an agent's
policy depends on its role, and how much better a world model that knows the role
predicts what the agent will see than one that does not (eq. 7, 9 and 10). Without
the reward it is ACORM, update for update.
"""

import logging
from collections.abc import Callable
from dataclasses import fields, replace

import jax
import jax.numpy as jnp

from rolemarl_jax.config import ConfigError, config
from rolemarl_jax.nets.agents import Recurrent, crossed, features
from rolemarl_jax.nets.rssm import RSSM
from rolemarl_jax.ops.intrinsic import policy_divergence
from rolemarl_jax.ops.td import masked_mean
from rolemarl_jax.rng import named
from rolemarl_jax.roles import acorm
from rolemarl_jax.roles.parts.foresight import foresee, stream
from rolemarl_jax.roles.parts.method import Context, Metrics, Params, Phase, RoleMethod
from rolemarl_jax.roles.parts.world_models import (
    MODELS,
    WorldConfig,
    init_model,
    make_models,
    world_phases,
)
from rolemarl_jax.types import AgentOut, Array, EnvSpec, Key, LearnerState, PyTree


@config
class Weights:
    """Weights of the intrinsic reward (paper's table 3).

    Attributes:
        alpha: of all of it. beta1: of what the role model predicts. beta2: of the
            latents. beta3: of the policies' divergence.
    """

    alpha: float
    beta1: float
    beta2: float
    beta3: float


@config
class Config:
    """R3DM's role parts (key ``algo.role``).

    Attributes:
        name ... embedding_lr: ACORM's keys, see ``roles.acorm.Config``.
        intrinsic: whether there are world models and a reward at all.
        horizon: k, steps that the models look ahead, 1 to 10.
        alpha, beta1, beta2, beta3: see ``Weights``; ``None`` takes the map's number.
        temperature: of the own policy in the divergence; ``None`` takes beta1.
        per_map: weights by map name, with an entry ``default``.
        clip: bound on the reward before alpha, ``None`` for none.
        normalise: step of a running mean square that the reward is divided by the
            root of, ``None`` for no such division.
        world: world models.
    """

    name: str
    hidden: int
    embedding: int
    role: int
    layer_norm: bool
    clusters: int
    kmeans_iterations: int
    role_lr: float
    contrastive: bool
    contrastive_lr: float
    contrastive_every: int
    momentum: float
    key_grad: bool
    norm_by_active: bool
    mask_dead: bool
    pretrain_embedding: int
    pretrain_contrastive: int
    embedding_lr: float
    intrinsic: bool
    horizon: int
    alpha: float | None
    beta1: float | None
    beta2: float | None
    beta3: float | None
    temperature: float | None
    per_map: dict[str, Weights]
    clip: float | None
    normalise: float | None
    world: WorldConfig


def make(cfg: Config, spec: EnvSpec) -> RoleMethod:
    """ACORM's method record with world models and an intrinsic reward.

    Raises:
        ConfigError: a horizon out of range, no default weights, or ACORM's faults.
    """
    if not 1 <= cfg.horizon <= 10:
        raise ConfigError(f"algo.role.horizon: got {cfg.horizon}, allowed: 1 to 10")
    own = {field.name: getattr(cfg, field.name) for field in fields(acorm.Config)}
    base = acorm.make(acorm.Config(**own), spec)
    if not cfg.intrinsic:
        return base
    nets = make_models(cfg.world, spec, cfg.role)

    def init(key: Key) -> Params:
        worlds = {name: init_model(net, named(key, name)) for name, net in nets.items()}
        return {**base.init(key), **worlds}

    def init_aux(key: Key, params: Params) -> dict[str, PyTree]:
        copies = {name: jax.tree.map(jnp.copy, params[name]) for name in MODELS}
        return {
            **base.init_aux(key, params),
            **copies,
            "intrinsic_square": jnp.ones(()),
        }

    return replace(
        base,
        init=init,
        init_aux=init_aux,
        exact=(*base.exact, *MODELS),
        hypers={
            **base.hypers,
            **_weights(cfg, spec),
            "world_lr": cfg.world.lr,
        },
        intrinsic=_intrinsic(cfg, Recurrent(cfg.hidden, spec.n_actions), nets),
        phases=_phases(cfg, base, nets),
        remember=_remember(cfg),
    )


def _weights(cfg: Config, spec: EnvSpec) -> dict[str, float]:
    """Weights of the reward: as given, else the map's, else the default ones.

    Raises:
        ConfigError: no entry ``default``.
    """
    if "default" not in cfg.per_map:
        raise ConfigError("algo.role.per_map: missing key default")
    chosen = {f.name: getattr(cfg, f.name) for f in fields(Weights)}
    where = spec.name.rpartition("/")[2]
    table = cfg.per_map.get(where, cfg.per_map["default"])
    missing = {n: getattr(table, n) for n, value in chosen.items() if value is None}
    if missing and where not in cfg.per_map:
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


def _intrinsic(
    cfg: Config, utility: Recurrent, nets: dict[str, RSSM]
) -> Callable[[Context, AgentOut], tuple[Array, Metrics]]:
    """The reward, a mean over agents: dead ones count, as in the authors' code."""

    def reward(ctx: Context, out: AgentOut) -> tuple[Array, Metrics]:
        batch, state, h = ctx.batch, ctx.state, ctx.state.hypers
        role, q = jax.lax.stop_gradient((out.feats["role"], out.q[:-1]))
        x = jax.tree.map(lambda part: part[:-1], batch.inputs)
        seen = features(x, utility.out, last_action=True, agent_id=False)
        others = crossed(
            utility, state.params["agent"], seen, role[:-1], batch.reset[:-1]
        )
        temperature = h.get("temperature", h["beta1"])
        keys = {name: stream(ctx.key, name) for name in MODELS}
        said = {
            name: foresee(net, state.aux[name], batch, role, cfg.horizon, keys[name])
            for name, net in nets.items()
        }
        with_role, without = (said[name] for name in MODELS)
        terms = {
            "policy": h["beta3"] * policy_divergence(q, others, temperature),
            "dynamics": without.error - h["beta1"] * with_role.error,
            "latent": h["beta2"] * (h["beta1"] * with_role.latent - without.latent),
        }
        terms = {name: x.mean(-1) * batch.mask for name, x in terms.items()}
        total = terms["policy"] + terms["dynamics"] + terms["latent"]
        return _weigh(cfg, ctx, total, terms)

    return reward


def _weigh(
    cfg: Config, ctx: Context, total: Array, terms: dict[str, Array]
) -> tuple[Array, Metrics]:
    """Normalises and clips where asked to, applies alpha, and reports every part."""
    mask, state = ctx.batch.mask, ctx.state
    metrics = {f"intrinsic_{name}": masked_mean(x, mask) for name, x in terms.items()}
    metrics["intrinsic"] = masked_mean(total, mask)
    metrics["intrinsic_square"] = masked_mean(total**2, mask)
    if cfg.normalise is not None:
        total = total / jnp.sqrt(state.aux["intrinsic_square"] + 1e-8)
    if cfg.clip is not None:
        total = jnp.clip(total, -cfg.clip, cfg.clip)
    added = state.hypers["alpha"] * total
    return added, {**metrics, "intrinsic_added": masked_mean(added, mask)}


def _remember(cfg: Config) -> Callable[[LearnerState, Metrics], LearnerState]:
    """Moves the running mean square of the reward, where it is used."""

    def remember(state: LearnerState, metrics: Metrics) -> LearnerState:
        if cfg.normalise is None:
            return state
        old = state.aux["intrinsic_square"]
        new = old + cfg.normalise * (metrics["td/intrinsic_square"] - old)
        return state._replace(aux={**state.aux, "intrinsic_square": new})

    return remember


def _phases(cfg: Config, base: RoleMethod, nets: dict[str, RSSM]) -> tuple[Phase, ...]:
    """ACORM's phases, with the world models trained along with each.

    While the embedding is pre-trained the copies that the reward reads are exact.
    """

    def roles(ctx: Context) -> Array:
        zeros = base.carry(ctx.batch.reset.shape[1])
        feats, _ = base.encode(ctx.state.params, ctx.batch.inputs, zeros, None)
        return feats["role"]

    exact, slow = (
        world_phases(cfg.world, nets, roles, exact=one) for one in (True, False)
    )
    pretrain = (
        replace(phase, also=exact if phase.name == "embedding" else slow)
        for phase in base.phases
        if phase.stage == "pretrain"
    )
    train = (phase for phase in base.phases if phase.stage == "train")
    return (*pretrain, *slow, *train)
