"""The value learner: IQL, VDN, QMIX and every role method on top of them.

TD steps on batches of replay, against a target network (Rashid et al. 2018,
arXiv:1803.11485).
"""

from functools import partial
from typing import Any, Literal

import jax

from rolemarl_jax.config import Finite, Fraction, NonNegative, Positive, config
from rolemarl_jax.learners.parts import phases, precision, td_step, values
from rolemarl_jax.learners.parts.check import batch_shapes, check_losses
from rolemarl_jax.learners.parts.epsilon import EpsilonConfig, linear_epsilon
from rolemarl_jax.learners.parts.learner import (
    Beginning,
    Learner,
    UpdateOut,
    make_init,
)
from rolemarl_jax.learners.parts.precision import Precision
from rolemarl_jax.learners.parts.rewards import reward_scale
from rolemarl_jax.learners.parts.td_step import DecayConfig, Values, td_phase
from rolemarl_jax.nets.mixers import make_mixer
from rolemarl_jax.ops import optim, scan
from rolemarl_jax.reads import ReadWhen
from rolemarl_jax.roles import make_method
from rolemarl_jax.roles.parts.method import RoleMethod
from rolemarl_jax.roles.parts.phase import Params, Phase
from rolemarl_jax.types import Array, Batch, EnvSpec, Key, LearnerState


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
        precision: of the networks inside an update; see ``parts.precision``.
            Acting is in float32.
        recurrence: of GRUs inside an update: a ``scan`` over steps, on a card one
            ``kernel`` each way, or ``auto``: the kernel where there is a card.
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
    precision: Precision
    recurrence: scan.Form
    optimiser: DecayConfig
    target: TargetConfig
    epsilon: EpsilonConfig
    loss_scales: dict[str, NonNegative]


READ_WHEN = (
    ReadWhen(
        ("target.tau",), lambda c: c.target.mode == "soft", "algo.target.mode=soft"
    ),
    ReadWhen(
        ("target.every",), lambda c: c.target.mode == "hard", "algo.target.mode=hard"
    ),
    *td_step.READ_WHEN,
)


def make(cfg: Config, spec: EnvSpec) -> Learner:
    """The learner for one configuration and world.

    Raises:
        ConfigError: a role method or mixer that cannot be made, or losses and weights
            that do not belong together.
    """
    method, mixer = make_method(cfg.role, spec), make_mixer(cfg.mixer, spec)
    nets = Values(method, mixer, cfg.double_q)
    every = tuple(
        precision.of_phase(phase, cfg.precision, method.exact)
        for phase in (*method.phases, td_phase(nets, cfg.optimiser, cfg.loss_scales))
    )
    begin = _beginning(cfg, nets, every, spec)
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
        scores=values.scores(method),
        role_metrics=values.role_metrics(nets.method, nets.mixer),
        whole=method.whole,
        epsilon=linear_epsilon(cfg.epsilon),
        update=jax.jit(partial(_update, cfg, method, train)),
        pretraining=tuple(phases.pretraining(phase) for phase in pretrain),
    )


def _beginning(
    cfg: Config, nets: Values, every: tuple[Phase, ...], spec: EnvSpec
) -> Beginning:
    """Targets are copies of the online groups."""
    return make_init(
        params=partial(nets.init, spec),
        target_groups=nets.target_groups,
        phases=every,
        hypers={
            "lr": cfg.lr,
            "gamma": cfg.gamma,
            "td_lambda": cfg.td_lambda,
            "reward_scale": reward_scale(cfg.reward_scale, spec),
            **({"tau": cfg.target.tau} if cfg.target.mode == "soft" else {}),
            **phases.weights(cfg.loss_scales)[1],
        },
        of_method=nets.method.hypers,
        no_gradient=nets.method.no_gradient,
        aux=nets.method.init_aux,
    )


def _update(
    cfg: Config,
    method: RoleMethod,
    train: tuple[Phase, ...],
    state: LearnerState,
    batch: Batch,
    t: Array,
    key: Key,
) -> UpdateOut:
    """The phases that are due, then target and momentum copies."""
    decay = optim.step_decay(cfg.optimiser.decay, cfg.optimiser.decay_every)(t)
    out = phases.run_phases(train, phases.nothing_done(state), batch, t, decay, key)
    moved = out.state._replace(target=_move_target(cfg.target, out.state, t))
    return out._replace(state=method.after_update(moved))


def _move_target(cfg: TargetConfig, state: LearnerState, t: Array) -> Params:
    online = {group: state.params[group] for group in state.target}
    if cfg.mode == "soft":
        return optim.soft_update(state.target, online, state.hypers["tau"])
    due = (t + 1) % cfg.every == 0
    return jax.lax.cond(due, lambda: online, lambda: state.target)
