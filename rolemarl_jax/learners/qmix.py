"""The value learner: IQL, VDN, QMIX and every role method on top of them.

One unroll of the online network, one of the target network, a mixer, TD(lambda)
targets with double Q-learning (Rashid et al. 2018, arXiv:1803.11485; PyMARL's
`learners/q_learner.py`), and whatever a role method adds.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.config import Finite, Fraction, NonNegative, Positive, UpTo1, config
from rolemarl_jax.learners.parts import phases, values
from rolemarl_jax.learners.parts.check import batch_shapes, check_losses
from rolemarl_jax.learners.parts.epsilon import EpsilonConfig, linear_epsilon
from rolemarl_jax.learners.parts.learner import (
    Beginning,
    Learner,
    UpdateOut,
    make_init,
)
from rolemarl_jax.learners.parts.optimiser import OptimiserConfig
from rolemarl_jax.learners.parts.rewards import reward_scale
from rolemarl_jax.nets.mixers import Mixer, make_mixer
from rolemarl_jax.ops import optim, td
from rolemarl_jax.rng import named
from rolemarl_jax.roles import make_method
from rolemarl_jax.roles.parts.method import Intrinsic, RoleMethod
from rolemarl_jax.roles.parts.phase import Context, LossOut, Params, Phase
from rolemarl_jax.types import AgentOut, Array, Batch, EnvSpec, Key, LearnerState


@config
class DecayConfig(OptimiserConfig):
    """Optimiser of the TD step (key ``algo.optimiser``), whose rate decays.

    Attributes:
        decay: factor on the learning rate at every ``decay_every``-th update.
        decay_every: in updates.
    """

    decay: UpTo1
    decay_every: Positive


@config
class TargetConfig:
    """Target network (key ``algo.target``).

    Attributes:
        mode: ``soft`` moves it by ``tau`` at every update, ``hard`` copies it at every
            ``every``-th update.
        tau: of a soft target.
        every: of a hard one, in updates.
    """

    mode: Literal["soft", "hard"]
    tau: Fraction
    every: Positive


@config
class Config:
    """A value-based algorithm (``configs/algo``).

    Attributes:
        name: of the algorithm.
        learner: ``qmix``, this file.
        role: record of the role method, by its ``name``.
        mixer: record of the mixer, by its ``name``.
        lr: learning rate of agent and mixer.
        gamma: discount.
        td_lambda: trace decay.
        double_q: the online network chooses the target's action.
        reward_scale: factor on rewards inside the loss, or none for
            ``rewards.reward_scale``.
        precision: of the networks inside an update; see ``phases.in_precision``.
            Acting is in float32.
        optimiser: of the TD step.
        target: how target networks move.
        epsilon: exploration.
        loss_scales: weight of ``td`` and of each loss that the role method adds.
    """

    name: str
    learner: str
    role: dict[str, Any]
    mixer: dict[str, Any]
    lr: NonNegative
    gamma: Fraction
    td_lambda: Fraction
    double_q: bool
    reward_scale: Finite | None
    precision: Literal["float32", "bfloat16"]
    optimiser: DecayConfig
    target: TargetConfig
    epsilon: EpsilonConfig
    loss_scales: dict[str, NonNegative]


class Setup(NamedTuple):
    """What the functions of the learner share."""

    cfg: Config
    method: RoleMethod
    mixer: Mixer


def make(cfg: Config, spec: EnvSpec) -> Learner:
    """The learner for one configuration and world.

    Raises:
        ConfigError: a role method or mixer that cannot be made, or losses and weights
            that do not belong together.
    """
    setup = Setup(cfg, make_method(cfg.role, spec), make_mixer(cfg.mixer, spec))
    method = setup.method
    every = tuple(
        phases.in_precision(phase, cfg.precision, method.exact)
        for phase in (*method.phases, _td_phase(setup))
    )
    begin = _beginning(setup, every, spec)
    check_losses(every, begin.shapes, batch_shapes(spec), {"td": "algo.loss_scales"})
    train = tuple(phase for phase in every if phase.stage == "train")
    pretrain = (phase for phase in every if phase.stage == "pretrain")
    return Learner(
        spec=spec,
        init=begin.init,
        hypers=begin.hypers,
        carry=method.carry,
        act=values.exploring(method, joint=cfg.epsilon.joint),
        greedy=values.greedy(method),
        epsilon=linear_epsilon(cfg.epsilon),
        update=jax.jit(partial(_update, setup, train)),
        pretraining=tuple(phases.pretraining(phase) for phase in pretrain),
    )


def _beginning(setup: Setup, every: tuple[Phase, ...], spec: EnvSpec) -> Beginning:
    """Targets are copies of the online groups."""
    cfg, method, mixer = setup

    def params(key: Key) -> Params:
        return {**method.init(named(key, "agent")), **mixer.init(named(key, "mixer"))}

    return make_init(
        params=params,
        target_groups=(*method.target_groups, *mixer.target_groups),
        phases=every,
        hypers={
            "lr": cfg.lr,
            "gamma": cfg.gamma,
            "td_lambda": cfg.td_lambda,
            "reward_scale": reward_scale(cfg.reward_scale, spec),
            **({"tau": cfg.target.tau} if cfg.target.mode == "soft" else {}),
            **phases.weights(cfg.loss_scales)[1],
            **method.hypers,
        },
        no_gradient=method.no_gradient,
        aux=method.init_aux,
    )


def _td_phase(setup: Setup) -> Phase:
    """The TD step as a phase: agent, mixer, and what else the method lets it train."""
    cfg = setup.cfg
    lr = {**setup.method.td_lr, **dict.fromkeys(setup.mixer.groups, "lr")}
    by_rate: dict[str, tuple[str, ...]] = {}
    for group, name in lr.items():
        by_rate[name] = (*by_rate.get(name, ()), group)
    clips = dict.fromkeys(by_rate.values(), cfg.optimiser.clip)
    return Phase(
        name="td",
        stage="train",
        lr=lr,
        optimiser=optim.optimiser(cfg.optimiser.name, cfg.optimiser.eps, clips),
        loss=partial(td_losses, setup),
        scales=phases.weights(cfg.loss_scales)[0],
        decays=True,
    )


def td_losses(setup: Setup, params: Params, ctx: Context) -> LossOut:
    """TD loss and the method's extra losses, each `[T, B]`, with metrics.

    The target network is unrolled from the first step like the online one, and its
    groups without a copy are the online ones.
    """
    cfg, method, mixer = setup
    batch, weight = method.experience(ctx)
    ctx, x = ctx._replace(batch=batch), batch.inputs
    online_key, target_key = named(ctx.key, "online"), named(ctx.key, "target")
    zeros = method.carry(batch.reward.shape[1])
    feats, _ = method.encode(params, x, zeros, online_key)
    out = _exact(method.q_values(params, x, feats, zeros)[0])
    if weight is not None:
        out = out._replace(q=td.scale_gradient(out.q, weight[..., None]))
    taken = td.chosen(out.q[:-1], batch.action)
    # The last observation has no action; its entry only keeps the state GRU whole.
    padded = jnp.concatenate([taken, jnp.zeros_like(taken[:1])])
    q_tot = mixer.mix(params, padded, batch.state, batch.reset, out.feats)[:-1]

    target_params = jax.lax.stop_gradient({**params, **ctx.state.target})
    target_feats = method.target_feats(
        target_params, x, jax.lax.stop_gradient(feats), target_key
    )
    target_out = _exact(method.q_values(target_params, x, target_feats, zeros)[0])
    selector_q = out.q if cfg.double_q else target_out.q
    best = jnp.argmax(td.mask_unavailable(selector_q, batch.avail), axis=-1)
    best_q = td.chosen(target_out.q, best)
    next_q_tot = mixer.mix(
        target_params, best_q, batch.state, batch.reset, target_out.feats
    )[1:]

    bonus = method.intrinsic(ctx, out)
    target = _target(ctx, bonus, next_q_tot)
    error = q_tot - jax.lax.stop_gradient(target)
    squared = (error**2).reshape((*batch.mask.shape, -1)).mean(-1)
    metrics = {
        "q_taken": td.masked_mean(q_tot, batch.mask),
        "target": td.masked_mean(target, batch.mask),
        "valid_steps": batch.mask.mean(),
        **bonus.metrics,
    }
    losses = {"td": squared, **method.extra_losses(params, ctx, out)}
    return LossOut(losses, metrics, bonus.aux)


def _target(ctx: Context, bonus: Intrinsic, next_q_tot: Array) -> Array:
    """TD(lambda) targets of the scaled reward and the method's own."""
    batch, h = ctx.batch, ctx.state.hypers
    return td.lambda_targets(
        h["reward_scale"] * batch.reward + bonus.reward,
        batch.terminated,
        batch.mask,
        next_q_tot,
        h["gamma"],
        h["td_lambda"],
    )


def _exact(out: AgentOut) -> AgentOut:
    """Action values as float32, whatever the network computed in."""
    return out._replace(q=out.q.astype(jnp.float32))


def _update(
    setup: Setup,
    train: tuple[Phase, ...],
    state: LearnerState,
    batch: Batch,
    t: Array,
    key: Key,
) -> UpdateOut:
    """The phases that are due, then target and momentum copies."""
    optimiser = setup.cfg.optimiser
    decay = optim.step_decay(optimiser.decay, optimiser.decay_every)(t)
    out = phases.run_phases(train, phases.nothing_done(state), batch, t, decay, key)
    moved = out.state._replace(target=_move_target(setup.cfg.target, out.state, t))
    return out._replace(state=setup.method.after_update(moved))


def _move_target(cfg: TargetConfig, state: LearnerState, t: Array) -> Params:
    online = {group: state.params[group] for group in state.target}
    if cfg.mode == "soft":
        return optim.soft_update(state.target, online, state.hypers["tau"])
    due = (t + 1) % cfg.every == 0
    return jax.lax.cond(due, lambda: online, lambda: state.target)
