"""The policy learner: MAPPO, IPPO and every method on top of them.

Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347) with one critic
value an agent (Yu et al. 2022, arXiv:2103.01955), on the block that the policy has just
collected. Old log-probabilities and values are computed when the update begins: the
parameters are still those that acted.
"""

from typing import Any, Literal

import jax.numpy as jnp

from rolemarl_jax.config import config
from rolemarl_jax.learners.parts import phases as core
from rolemarl_jax.learners.parts.acting import policies
from rolemarl_jax.learners.parts.ppo_block import Old, Outlook, Sequences
from rolemarl_jax.learners.parts.ppo_epochs import Epochs, Part, make_epochs
from rolemarl_jax.nets.dists import categorical
from rolemarl_jax.ops import gae, optim
from rolemarl_jax.rng import named
from rolemarl_jax.roles import make_method
from rolemarl_jax.roles.parts.method import Context, Losses, Metrics, Params, Phase
from rolemarl_jax.roles.parts.policy_method import PolicyMethod
from rolemarl_jax.roles.parts.shaping import Shaping, make_shaping
from rolemarl_jax.types import (
    Array,
    EnvSpec,
    Fresh,
    Key,
    LearnerState,
)


@config
class OptimiserConfig:
    """Optimiser of the PPO steps (key ``algo.optimiser``).

    Attributes:
        name, eps: see ``ops.optim``. clip: gradient norm, for actor and critic each.
    """

    name: Literal["adam", "rmsprop"]
    eps: float
    clip: float


@config
class Config:
    """A policy-based algorithm (``configs/algo``).

    Attributes:
        name: of the algorithm. learner: ``mappo``, this file.
        role: record of the policy method, by its ``name``. shaping: of the reward's.
        actor_lr, critic_lr: learning rates. gamma: discount. gae_lambda: trace decay.
        reward_scale: factor on rewards, shaping included.
        clip: of the probability ratio. value_clip: of the value's change, or none.
        value_norm: decay of the running moments that value targets are normalised
            by, or none.
        epochs: passes over a block. minibatch: sequences (worlds) of one step, or
            none for all of them.
        loss_scales: weight of ``actor``, ``critic`` and ``entropy`` (the negative
            entropy, so that its weight is the entropy coefficient).
        pretrain_steps: gradient steps of a pre-training phase on one block.
    """

    name: str
    learner: str
    role: dict[str, Any]
    shaping: dict[str, Any]
    actor_lr: float
    critic_lr: float
    gamma: float
    gae_lambda: float
    reward_scale: float
    clip: float
    value_clip: float | None
    value_norm: float | None
    epochs: int
    minibatch: int | None
    optimiser: OptimiserConfig
    loss_scales: dict[str, float]
    pretrain_steps: int


def make(cfg: Config, spec: EnvSpec) -> core.Learner:
    """The learner for one configuration and world.

    Raises:
        ConfigError: a method or shaping that cannot be made.
    """
    method = make_method(cfg.role, spec, PolicyMethod)
    shaping = make_shaping(cfg.shaping, spec)
    ppo = _ppo_phase(cfg, method)
    epochs = make_epochs(cfg, method, shaping, ppo)
    train = tuple(p for p in method.phases if p.stage == "train")
    pretrain = tuple(p for p in method.phases if p.stage == "pretrain")
    act, greedy = policies(method)
    return core.Learner(
        spec=spec,
        init=_initialiser(
            cfg, method, shaping, (*pretrain, *train, *shaping.phases, ppo)
        ),
        carry=method.carry,
        act=act,
        greedy=greedy,
        epsilon=lambda _: jnp.zeros(()),
        update=_updater(method, shaping, epochs, train),
        pretraining=tuple(
            core.repeated(core.pretraining(p), cfg.pretrain_steps) for p in pretrain
        ),
        experience="fresh",
    )


def _initialiser(
    cfg: Config, method: PolicyMethod, shaping: Shaping, phases: tuple[Phase, ...]
) -> Any:
    """``key -> LearnerState``; there is no target network."""
    hypers = {
        "actor_lr": cfg.actor_lr,
        "critic_lr": cfg.critic_lr,
        "gamma": cfg.gamma,
        "gae_lambda": cfg.gae_lambda,
        "reward_scale": cfg.reward_scale,
        "clip": cfg.clip,
        **core.weights(cfg.loss_scales)[1],
        **method.hypers,
        **shaping.hypers,
    }

    def init(key: Key) -> LearnerState:
        params = {
            **method.init(named(key, "policy")),
            **shaping.init(named(key, "shaping")),
        }
        moments = {} if cfg.value_norm is None else {"value": gae.no_moments()}
        return LearnerState(
            params=params,
            target={},
            opt=core.init_optimisers(phases, params),
            aux=moments,
            hypers={n: jnp.asarray(v, jnp.float32) for n, v in hypers.items()},
        )

    return init


def _ppo_phase(cfg: Config, method: PolicyMethod) -> Phase:
    """The PPO step as a phase over actor and critic."""
    actor, critic = method.actor_groups, method.critic_groups
    lr = {**dict.fromkeys(actor, "actor_lr"), **dict.fromkeys(critic, "critic_lr")}
    clips = dict.fromkeys((actor, critic), cfg.optimiser.clip)

    def loss(params: Params, ctx: Context) -> tuple[Losses, Metrics]:
        part: Part = ctx.batch
        clip = ctx.state.hypers["clip"]
        return ppo_losses(cfg, clip, part.look(params), part.seq, part.old)

    return Phase(
        name="ppo",
        stage="train",
        lr=lr,
        optimiser=optim.optimiser(cfg.optimiser.name, cfg.optimiser.eps, clips),
        loss=loss,
        scales=core.weights(cfg.loss_scales)[0],
    )


def ppo_losses(
    cfg: Config, clip: Array, seen: Outlook, seq: Sequences, old: Old
) -> tuple[Losses, Metrics]:
    """Clipped surrogate, squared value error and negative entropy, each `[T, B]`.

    Agents without a choice, the dead among them, weigh nothing in the actor's losses.
    """
    logits, value = seen
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
        "clip_fraction": (outside * old.weight).mean(),
        "kl": ((ratio - 1 - change) * old.weight).mean(),
        "value": value.mean(),
    }
    return losses, metrics


def _updater(
    method: PolicyMethod,
    shaping: Shaping,
    epochs: Epochs,
    phases: tuple[Phase, ...],
) -> core.Update:
    """One iteration: the reward's shaping, PPO's epochs, the method's phases.

    The last in this order, because they may move the roles that the policy acted with.
    """

    def update(
        state: LearnerState, block: Fresh, t: Array, key: Key
    ) -> tuple[LearnerState, Metrics]:
        metrics: Metrics = {}

        def run(phases: tuple[Phase, ...], state: LearnerState) -> LearnerState:
            for phase in phases:
                one, own = jnp.ones(()), named(key, phase.name)
                state, reported = core.run_when_due(phase, state, block, t, one, own)
                metrics.update(reported)
            return state

        state = run(shaping.phases, state)
        state, reported = epochs(state, block, named(key, "ppo"))
        metrics.update(reported)
        state = run(phases, state)
        return method.after_update(state), metrics

    return update
