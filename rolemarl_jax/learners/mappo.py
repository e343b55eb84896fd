"""The policy learner: MAPPO, IPPO and every method on top of them.

Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347) with one critic
value an agent (Yu et al. 2022, arXiv:2103.01955), on the block that the policy has just
collected. Old log-probabilities and values are computed when the update begins: the
parameters are still those that acted.
"""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.config import (
    Above0,
    Finite,
    Fraction,
    NonNegative,
    Positive,
    config,
)
from rolemarl_jax.learners.parts import acting, phases, precision
from rolemarl_jax.learners.parts.check import check_losses, trajectory_shapes
from rolemarl_jax.learners.parts.learner import (
    Beginning,
    Learner,
    UpdateOut,
    make_init,
)
from rolemarl_jax.learners.parts.optimiser import OptimiserConfig
from rolemarl_jax.learners.parts.ppo_block import Old, Outlook, forward, sequences
from rolemarl_jax.learners.parts.ppo_epochs import Epochs, Part, make_epochs
from rolemarl_jax.learners.parts.precision import Precision
from rolemarl_jax.nets.dists import categorical
from rolemarl_jax.ops import gae, optim, scan
from rolemarl_jax.ops.td import masked_mean
from rolemarl_jax.reads import ReadWhen
from rolemarl_jax.rng import named
from rolemarl_jax.roles import make_method
from rolemarl_jax.roles.parts.method import PolicyMethod
from rolemarl_jax.roles.parts.phase import Context, LossOut, Params, Phase
from rolemarl_jax.roles.parts.shaping import Shaping, make_shaping
from rolemarl_jax.types import Array, EnvSpec, Key, LearnerState, PyTree, Trajectory


@config
class Config:
    """A policy-based algorithm (``configs/algo``).

    Attributes:
        name: of the algorithm.
        learner: ``mappo``, this file.
        role: record of the policy method, by its ``name``.
        shaping: of the reward's.
        actor_lr: learning rate of the actor's groups.
        critic_lr: learning rate of the critic's groups.
        gamma: discount.
        gae_lambda: trace decay.
        reward_scale: factor on rewards, shaping included.
        clip: of the probability ratio.
        value_clip: of the value's change, or none.
        value_norm: decay of the running moments that value targets are normalised
            by, or none.
        epochs: passes over a block.
        minibatch: sequences (worlds) of one step, or none for all of them.
        optimiser: of the PPO steps.
        loss_scales: weight of ``actor``, ``critic`` and ``entropy`` (the negative
            entropy, so that its weight is the entropy coefficient).
        pretrain_steps: gradient steps of a pre-training phase on one block.
        precision: of the networks inside an update; see ``parts.precision``.
            Acting is in float32.
        recurrence: of GRUs inside an update: a ``scan`` over steps, on a card one
            ``kernel`` each way, or ``auto``: the kernel where there is a card.
    """

    name: str
    learner: str
    role: dict[str, Any]
    shaping: dict[str, Any]
    actor_lr: NonNegative
    critic_lr: NonNegative
    gamma: Fraction
    gae_lambda: Fraction
    reward_scale: Finite
    clip: Above0
    value_clip: Above0 | None
    value_norm: Fraction | None
    epochs: Positive
    minibatch: Positive | None
    optimiser: OptimiserConfig
    loss_scales: dict[str, NonNegative]
    pretrain_steps: Positive
    precision: Precision
    recurrence: scan.Form


READ_WHEN = (
    ReadWhen(
        ("pretrain_steps",),
        lambda c: any(c.role[key] for key in c.role if key.startswith("pretrain_")),
        "methods with pre-training, such as algo=acorm_mappo",
    ),
)


class Setup(NamedTuple):
    """What the functions of the learner share."""

    cfg: Config
    method: PolicyMethod
    shaping: Shaping


def make(cfg: Config, spec: EnvSpec) -> Learner:
    """The learner for one configuration and world.

    Raises:
        ConfigError: a method or shaping that cannot be made, or losses and weights that
            do not belong together.
    """
    acts = make_method(cfg.role, spec, PolicyMethod)
    method = precision.of_policy(acts, cfg.precision)
    setup = Setup(cfg, method, make_shaping(cfg.shaping, spec))
    ppo = _ppo_phase(setup)
    begin = _beginning(setup, ppo)
    _check(setup, ppo, spec, begin.shapes)
    epochs = make_epochs(cfg, method, setup.shaping, ppo)
    train = tuple(phase for phase in method.phases if phase.stage == "train")
    pretrain = (phase for phase in method.phases if phase.stage == "pretrain")
    return Learner(
        spec=spec,
        init=begin.init,
        hypers=begin.hypers,
        samples=True,
        carry=method.carry,
        act=acting.sampling(acting.of_method(acts, critic=True)),
        greedy=acting.likeliest(acting.of_method(acts, critic=False)),
        scores=acting.scores(acts),
        role_metrics=method.role_metrics,
        epsilon=lambda _: jnp.zeros(()),
        update=jax.jit(partial(_update, setup, epochs, train)),
        pretraining=tuple(
            phases.pretraining(phase, cfg.pretrain_steps) for phase in pretrain
        ),
        experience="fresh",
        minibatch=cfg.minibatch,
    )


def _check(setup: Setup, ppo: Phase, spec: EnvSpec, state: LearnerState) -> None:
    """Compares losses and weights of all phases, on shapes alone."""
    method, shaping = setup.method, setup.shaping
    block = trajectory_shapes(spec, method.carry)
    check_losses((*method.phases, *shaping.phases), state, block)

    def loss(params: Params, ctx: Context) -> LossOut:
        seq = sequences(ctx.batch)
        outlook, _ = forward(method, params, seq)
        old = Old(*[jnp.zeros(ctx.batch.action.shape)] * len(Old._fields))
        return ppo.loss(outlook, ctx._replace(batch=Part(seq, old)))

    check_losses((replace(ppo, loss=loss),), state, block, {"ppo": "algo.loss_scales"})


def _beginning(setup: Setup, ppo: Phase) -> Beginning:
    """There is no target network."""
    cfg, method, shaping = setup

    def params(key: Key) -> Params:
        own = method.init(named(key, "policy"))
        return {**own, **shaping.init(named(key, "shaping"))}

    def aux(key: Key, params: Params) -> dict[str, PyTree]:
        del key, params
        return {} if cfg.value_norm is None else {"value": gae.no_moments()}

    return make_init(
        params=params,
        target_groups=(),
        phases=(*method.phases, *shaping.phases, ppo),
        hypers={
            "actor_lr": cfg.actor_lr,
            "critic_lr": cfg.critic_lr,
            "gamma": cfg.gamma,
            "gae_lambda": cfg.gae_lambda,
            "reward_scale": cfg.reward_scale,
            "clip": cfg.clip,
            **phases.weights(cfg.loss_scales)[1],
        },
        of_method={**method.hypers, **shaping.hypers},
        no_gradient=method.no_gradient,
        aux=aux,
    )


def _ppo_phase(setup: Setup) -> Phase:
    """The PPO step as a phase over actor and critic; its loss reads an ``Outlook``."""
    cfg = setup.cfg
    actor, critic = setup.method.actor_groups, setup.method.critic_groups
    clips = dict.fromkeys((actor, critic), cfg.optimiser.clip)

    def loss(outlook: Any, ctx: Context) -> LossOut:
        return ppo_losses(cfg, ctx.state.hypers["clip"], outlook, ctx.batch)

    return Phase(
        name="ppo",
        stage="train",
        lr={**dict.fromkeys(actor, "actor_lr"), **dict.fromkeys(critic, "critic_lr")},
        optimiser=optim.optimiser(cfg.optimiser.name, cfg.optimiser.eps, clips),
        loss=loss,
        scales=phases.weights(cfg.loss_scales)[0],
    )


def ppo_losses(cfg: Config, clip: Array, outlook: Outlook, part: Part) -> LossOut:
    """Clipped surrogate, squared value error and negative entropy, each `[T, B]`.

    Agents without a choice, the dead among them, weigh nothing in the actor's losses.
    """
    (logits, value), (seq, old) = outlook, part
    policy = categorical(logits, seq.avail)
    change = policy.log_prob(seq.action) - old.log_prob
    ratio = jnp.exp(change)
    clipped = jnp.clip(ratio, 1 - clip, 1 + clip)
    gain = jnp.minimum(ratio * old.advantage, clipped * old.advantage)
    error = (value - old.target) ** 2
    if cfg.value_clip is not None:
        near = jnp.clip(value, old.value - cfg.value_clip, old.value + cfg.value_clip)
        error = jnp.maximum(error, (near - old.target) ** 2)
    entropy = policy.entropy()
    losses = {
        "actor": -(gain * old.weight).mean(-1),
        "critic": error.mean(-1),
        "entropy": -(entropy * old.weight).mean(-1),
    }
    outside = jnp.abs(ratio - 1) > clip
    metrics = {
        "clip_fraction": masked_mean(outside * old.weight, seq.mask),
        "kl": masked_mean((ratio - 1 - change) * old.weight, seq.mask),
        "value": masked_mean(value, seq.mask),
    }
    return LossOut(losses, metrics)


def _update(
    setup: Setup,
    epochs: Epochs,
    train: tuple[Phase, ...],
    state: LearnerState,
    block: Trajectory,
    t: Array,
    key: Key,
) -> UpdateOut:
    """One iteration: the reward's shaping, PPO's epochs, the method's phases.

    The last in this order, because they may move the roles that the policy acted with.
    """
    one, out = jnp.ones(()), phases.nothing_done(state)
    out = phases.run_phases(setup.shaping.phases, out, block, t, one, key)
    out = phases.joined(out, epochs(out.state, block, named(key, "ppo")))
    out = phases.run_phases(train, out, block, t, one, key)
    return out._replace(state=setup.method.after_update(out.state))
