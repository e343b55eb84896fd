"""The value learner without replay: PQN under every mixer and role method.

Parallelised Q-learning (Gallici et al. 2024, arXiv:2407.04811): a block of fresh steps
of many worlds, TD(lambda) targets, LayerNorm in place of a target network or beside one
that soon follows, and several passes over the block in minibatches of worlds. Recurrent
states go on from those that acted in the block's first step.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.config import (
    Finite,
    Fraction,
    Natural,
    NonNegative,
    Positive,
    UpTo1,
    config,
)
from rolemarl_jax.learners.parts import average, phases, precision, td_step, values
from rolemarl_jax.learners.parts.check import batch_shapes, check_losses
from rolemarl_jax.learners.parts.epsilon import EpsilonConfig, linear_epsilon
from rolemarl_jax.learners.parts.learner import (
    Beginning,
    Learner,
    UpdateOut,
    make_init,
)
from rolemarl_jax.learners.parts.minibatches import shuffled
from rolemarl_jax.learners.parts.precision import Precision
from rolemarl_jax.learners.parts.rewards import reward_scale
from rolemarl_jax.learners.parts.td_step import DecayConfig, Values, td_phase
from rolemarl_jax.nets.mixers import make_mixer
from rolemarl_jax.ops import optim, scan
from rolemarl_jax.reads import ReadWhen
from rolemarl_jax.rng import named
from rolemarl_jax.roles import make_method
from rolemarl_jax.roles.parts.phase import Context, Metrics, Phase
from rolemarl_jax.types import Array, Batch, EnvSpec, Key, LearnerState


@config
class Config:
    """A value-based algorithm without replay (``configs/algo``, ``algo.learner=pqn``).

    Attributes:
        name: of the algorithm.
        learner: ``pqn``, this file.
        role: record of the role method, by its ``name``.
        mixer: record of the mixer, by its ``name``.
        lr: learning rate of agent and mixer.
        gamma: discount.
        td_lambda: trace decay.
        reward_scale: factor on rewards inside the loss, or none for
            ``rewards.reward_scale``.
        precision: of the networks inside an update; see ``parts.precision``.
        recurrence: of GRUs inside an update: a ``scan`` over steps, on a card one
            ``kernel`` each way, or ``auto``: the kernel where there is a card.
        optimiser: of the TD steps; its rate decays by blocks.
        epsilon: exploration.
        loss_scales: weight of ``td`` and of each loss that the role method adds.
        epochs: passes over a block.
        minibatch: worlds of one TD step, or none for all of them.
        ends: episodes of one world that may end inside a block.
        slow_target: step of a target network towards the online one at each block, or
            none for no target network.
        average: step of the weights that greedy episodes are played with towards the
            trained ones at each block; 1 for the trained ones themselves. While a
            method is pre-trained they are the trained ones.
        pretrain_steps: gradient steps of a pre-training phase on one block.
    """

    name: str
    learner: str
    role: dict[str, Any]
    mixer: dict[str, Any]
    lr: NonNegative
    gamma: Fraction
    td_lambda: Fraction
    reward_scale: Finite | None
    precision: Precision
    recurrence: scan.Form
    optimiser: DecayConfig
    epsilon: EpsilonConfig
    loss_scales: dict[str, NonNegative]
    epochs: Positive
    minibatch: Positive | None
    ends: Natural
    slow_target: Fraction | None
    average: UpTo1
    pretrain_steps: Positive


READ_WHEN = (
    ReadWhen(
        ("pretrain_steps",),
        lambda c: any(c.role[key] for key in c.role if key.startswith("pretrain_")),
        "methods with pre-training, such as algo=acorm",
    ),
    ReadWhen(
        ("mixer.own_state_encoder",),
        lambda c: c.slow_target is not None,
        "a target network: algo.slow_target=0.4",
    ),
    *td_step.READ_WHEN,
)


class Setup(NamedTuple):
    """What the functions of the learner share."""

    cfg: Config
    nets: Values
    td: Phase
    train: tuple[Phase, ...]  # of the method, once a block


def make(cfg: Config, spec: EnvSpec) -> Learner:
    """The learner for one configuration and world.

    Raises:
        ConfigError: a role method or mixer that cannot be made, or losses and weights
            that do not belong together.
    """
    method = make_method(cfg.role, spec)
    nets = Values(method, make_mixer(cfg.mixer, spec), double_q=True)
    td = td_phase(nets, cfg.optimiser, cfg.loss_scales)
    *own, td = (
        precision.of_phase(phase, cfg.precision, method.exact)
        for phase in (*method.phases, td)
    )
    begin = _beginning(cfg, nets, (*own, td), spec)
    batch = batch_shapes(spec)._replace(carry=jax.eval_shape(lambda: method.carry(2)))
    check_losses((*own, td), begin.shapes, batch, {"td": "algo.loss_scales"})
    train = tuple(phase for phase in own if phase.stage == "train")
    return Learner(
        spec=spec,
        init=begin.init,
        hypers=begin.hypers,
        carry=method.carry,
        act=values.exploring(method, joint=cfg.epsilon.joint),
        greedy=average.of_mean(values.greedy(method)),
        scores=average.of_mean(values.scores(method)),
        judged=average.judged,
        role_metrics=values.role_metrics(nets.method, nets.mixer),
        epsilon=linear_epsilon(cfg.epsilon),
        update=jax.jit(partial(_update, Setup(cfg, nets, td, train))),
        pretraining=tuple(
            average.pretrained(phases.pretraining(phase, cfg.pretrain_steps))
            for phase in own
            if phase.stage == "pretrain"
        ),
        experience="rows",
        ends=cfg.ends,
        minibatch=cfg.minibatch,
    )


def _beginning(
    cfg: Config, nets: Values, every: tuple[Phase, ...], spec: EnvSpec
) -> Beginning:
    """There are copies of the online groups only where a slow target is asked for."""
    slow = cfg.slow_target is not None
    return make_init(
        params=partial(nets.init, spec),
        target_groups=nets.target_groups if slow else (),
        phases=every,
        hypers={
            "lr": cfg.lr,
            "gamma": cfg.gamma,
            "td_lambda": cfg.td_lambda,
            "reward_scale": reward_scale(cfg.reward_scale, spec),
            average.AVERAGE: cfg.average,
            **({} if cfg.slow_target is None else {"tau": cfg.slow_target}),
            **phases.weights(cfg.loss_scales)[1],
        },
        of_method=nets.method.hypers,
        no_gradient=nets.method.no_gradient,
        aux=average.with_average(nets.method.init_aux, tuple(nets.method.td_lr)),
    )


def _update(
    setup: Setup, state: LearnerState, block: Batch, t: Array, key: Key
) -> UpdateOut:
    """The method's phases on the whole block, TD steps on its parts, then copies."""
    cfg = setup.cfg
    decay = optim.step_decay(cfg.optimiser.decay, cfg.optimiser.decay_every)(t)
    out = phases.nothing_done(state)
    out = phases.run_phases(setup.train, out, block, t, decay, key)
    out = phases.joined(out, _passes(setup, out.state, block, decay, key))
    state = out.state
    if cfg.slow_target is not None:
        online = {group: state.params[group] for group in state.target}
        moved = optim.soft_update(state.target, online, state.hypers["tau"])
        state = state._replace(target=moved)
    return out._replace(state=average.moved(setup.nets.method.after_update(state)))


def _passes(
    setup: Setup, state: LearnerState, block: Batch, decay: Array, key: Key
) -> UpdateOut:
    """TD steps on minibatches of worlds; metrics are means over the steps."""
    cfg, worlds = setup.cfg, block.mask.shape[1]
    read = precision.of_state(state, cfg.precision, setup.nets.method.exact)
    block = td_step.judged(setup.nets, read, block)
    block, bonus = td_step.rewarded(
        setup.nets, Context(read, block, named(key, "reward"))
    )
    state = state._replace(aux={**state.aux, **bonus.aux})
    picks = shuffled(worlds, cfg.minibatch or worlds, cfg.epochs, key)

    def step(
        state: LearnerState, at: tuple[Array, Array]
    ) -> tuple[LearnerState, tuple[Metrics, Array]]:
        i, pick = at
        part = block if len(pick) == worlds else take(block, pick)
        own = named(named(key, "td"), "step", i)
        out = phases.run_phase(setup.td, state, part, decay, own)
        return out.state, (out.metrics, out.finite)

    counted = jnp.arange(len(picks)), picks
    state, (metrics, finite) = jax.lax.scan(step, state, counted)
    means = {name: x.mean() for name, x in metrics.items()}
    own = {f"{setup.td.name}/{name}": x for name, x in bonus.metrics.items()}
    return UpdateOut(state, {**means, **own}, finite.all())


def take(block: Batch, pick: Array) -> Batch:
    """Some rows of a block."""
    carry = jax.tree.map(lambda x: x[pick], block.carry)
    steps = jax.tree.map(lambda x: x[:, pick], block._replace(carry=()))
    return steps._replace(carry=carry)
