"""R3DM: roles from dynamics models (Goel et al., ICML 2025).

ACORM with an intrinsic reward for roles that shape the future: how much an agent's
policy depends on its role, and how much better a world model that knows the role
predicts what the agent will see than one that does not (eq. 7, 9 and 10). Without
the reward it is ACORM, update for update.
"""

import logging
from collections.abc import Callable
from dataclasses import fields, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.config import ConfigError, config
from rolemarl_jax.nets.agents import Recurrent, crossed, features
from rolemarl_jax.nets.rssm import RSSM, RSSMConfig
from rolemarl_jax.ops import latent
from rolemarl_jax.ops.intrinsic import ahead, policy_divergence
from rolemarl_jax.ops.optim import optimiser, soft_update
from rolemarl_jax.ops.td import masked_mean
from rolemarl_jax.rng import named
from rolemarl_jax.roles import acorm
from rolemarl_jax.roles.base import Context, Losses, Metrics, Params, Phase, RoleMethod
from rolemarl_jax.types import (
    AgentOut,
    Array,
    Batch,
    EnvSpec,
    Key,
    LearnerState,
    PyTree,
)

MODELS = ("world_role", "world")
"""Parameter groups of the model that knows the roles and of the one that does not."""


@config
class WorldConfig:
    """World models (key ``algo.role.world``).

    Attributes:
        net: sizes. free_nats: floor of the latents' divergence.
        dynamics_scale, representation_scale: weights of its two directions.
        lr, eps, clip: of each model's Adam. target_tau: step of the copies that the
            reward reads towards the models, after each of their updates.
    """

    net: RSSMConfig
    free_nats: float
    dynamics_scale: float
    representation_scale: float
    lr: float
    eps: float
    clip: float
    target_tau: float


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


class Foresight(NamedTuple):
    """What a model says of the next k steps, on average; `[T, B, N]` each."""

    error: Array  # minus the log-likelihood of the observations, up to a constant
    latent: Array  # log-likelihood of the latents that it drew itself


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
    nets = {
        name: RSSM(cfg.world.net, spec.obs_dim, spec.n_actions, size)
        for name, size in zip(MODELS, (cfg.role, 0), strict=True)
    }

    def init(key: Key) -> Params:
        worlds = {name: _init(net, named(key, name)) for name, net in nets.items()}
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
        hypers={
            **base.hypers,
            **_weights(cfg, spec),
            "world_lr": cfg.world.lr,
        },
        intrinsic=_intrinsic(cfg, Recurrent(cfg.hidden, spec.n_actions), nets),
        phases=_phases(cfg, base, nets),
        remember=_remember(cfg),
    )


def _init(net: RSSM, key: Key) -> PyTree:
    sizes = (net.obs, net.actions, net.role)
    rows = [jnp.zeros((1, 1, size)) for size in sizes]
    return net.init(key, *rows, jnp.ones((1, 1), bool))


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


def story(batch: Batch, role: Array, n_actions: int) -> tuple[Array, Array]:
    """What led to each observation: one-hot actions, and the roles they were taken in.

    Args:
        role: `[T+1, B, N, Z]`.

    Returns:
        `[T+1, B, N, A]` and `[T+1, B, N, Z]`; zeros at an episode's first step.
    """
    before = jnp.concatenate([jnp.zeros_like(role[:1]), role[:-1]])
    before = jnp.where(batch.reset[..., None, None], 0.0, before)
    return jax.nn.one_hot(batch.last_action, n_actions), before


def per_transition(x: Array, batch: Batch) -> Array:
    """Lays numbers of observations `[T+1, B]` out over transitions `[T, B]`.

    Each transition gets that of the observation it leads to, the first of an episode
    also that of its first observation; so every real observation counts once.
    """
    return x[1:] + jnp.where(batch.reset[:-1], x[:-1], 0.0)


def model_losses(
    cfg: WorldConfig,
    net: RSSM,
    params: PyTree,
    batch: Batch,
    role: Array,
    key: Key | None,
) -> tuple[Array, Array]:
    """Reconstruction error and balanced divergence of a world model, `[T+1, B, N]`.

    Args:
        role: `[T+1, B, N, Z]`; the role-agnostic model reads none of it.
        key: of the latents' samples; ``None`` takes modes.
    """
    drive, before = story(batch, role[..., : net.role], net.actions)
    seen = net.apply(
        params, batch.obs, drive, before, batch.reset, key, method=net.observe
    )
    prior = net.apply(params, seen.deter, method=net.prior)
    predicted = net.apply(params, seen.deter, seen.latent, before, method=net.decode)
    divergence = latent.balanced_kl(
        seen.log_probs,
        prior,
        cfg.dynamics_scale,
        cfg.representation_scale,
        cfg.free_nats,
    )
    return latent.symlog_error(predicted, batch.obs), divergence


def _stream(key: Key | None, name: str) -> Key | None:
    return None if key is None else named(key, name)


def foresee(
    net: RSSM, params: PyTree, batch: Batch, role: Array, horizon: int, key: Key | None
) -> Foresight:
    """Follows each step for ``horizon`` steps without looking.

    From the posterior state at t the model is driven by the actions that were taken,
    in the role of step t; what it predicts is compared with what was seen (eq. 9). The
    mean is over those of the k steps that belong to the same episode.

    Args:
        role: `[T+1, B, N, Z]`. key: of the samples; ``None`` takes modes.
    """
    length = batch.mask.shape[0]
    role = role[..., : net.role]
    drive, before = story(batch, role, net.actions)
    fixed = role[:-1]
    seen = net.apply(
        params,
        batch.obs,
        drive,
        before,
        batch.reset,
        _stream(key, "seen"),
        method=net.observe,
    )

    def look(deter: Array, j: int | Array) -> tuple[Array, Foresight]:
        log_probs = net.apply(params, deter, method=net.prior)
        noise = (
            None
            if key is None
            else jax.random.uniform(named(key, "ahead", j), log_probs.shape[:-1])
        )
        drawn = latent.straight_through(log_probs, noise)
        predicted = net.apply(params, deter, drawn, fixed, method=net.decode)
        error = latent.symlog_error(predicted, ahead(batch.obs, j, length))
        return drawn, Foresight(error, (log_probs * drawn).sum((-1, -2)))

    def further(carry: tuple, j: Array) -> tuple[tuple, None]:
        deter, drawn, total, alive, count = carry
        driven = ahead(drive, j, length)
        deter = net.apply(params, deter, drawn, driven, fixed, method=net.imagine)
        drawn, found = look(deter, j)
        alive = alive * ahead(batch.mask, j - 1, length)
        weight = alive[..., None]
        total = jax.tree.map(lambda sum_, x: sum_ + weight * x, total, found)
        return (deter, drawn, total, alive, count + weight), None

    # The state that the posterior's recurrence reached is the first one imagined.
    deter = seen.deter[1:]
    drawn, total = look(deter, 1)
    count = jnp.ones((*batch.mask.shape, 1))
    carry = (deter, drawn, total, batch.mask, count)
    if horizon > 1:
        carry, _ = jax.lax.scan(further, carry, jnp.arange(2, horizon + 1))
    return jax.tree.map(lambda x: x / carry[4], carry[2])


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
        keys = {name: _stream(ctx.key, name) for name in MODELS}
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
    exact = _world_phases(cfg, base, nets, 1.0)
    slow = _world_phases(cfg, base, nets, cfg.world.target_tau)
    pretrain = (
        replace(phase, also=exact if phase.name == "embedding" else slow)
        for phase in base.phases
        if phase.stage == "pretrain"
    )
    train = (phase for phase in base.phases if phase.stage == "train")
    return (*pretrain, *slow, *train)


def _world_phases(
    cfg: Config, base: RoleMethod, nets: dict[str, RSSM], tau: float
) -> tuple[Phase, ...]:
    """One phase a model; roles are inputs that its loss does not change."""

    def phase(name: str) -> Phase:
        def loss(params: Params, ctx: Context) -> tuple[Losses, Metrics]:
            batch, zeros = ctx.batch, base.carry(ctx.batch.reset.shape[1])
            feats, _ = base.encode(ctx.state.params, batch.inputs, zeros, None)
            losses = model_losses(
                cfg.world, nets[name], params[name], batch, feats["role"], ctx.key
            )
            names = ("observation", "divergence")
            return {
                n: per_transition(x.mean(-1), batch)
                for n, x in zip(names, losses, strict=True)
            }, {}

        def follow(state: LearnerState) -> LearnerState:
            copy = soft_update(state.aux[name], state.params[name], tau)
            return state._replace(aux={**state.aux, name: copy})

        return Phase(
            name=name,
            stage="train",
            lr={name: "world_lr"},
            optimiser=optimiser("adam", cfg.world.eps, {(name,): cfg.world.clip}),
            loss=loss,
            scales={"observation": 1.0, "divergence": 1.0},
            after=follow,
        )

    return tuple(phase(name) for name in MODELS)
