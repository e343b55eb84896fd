"""EOI that only explores: the authors' later form for SMAC (`eoi_pymarl`).

QMIX is left as it is. The classifier's verdict rewards an intrinsic action value
function (IVF), and in some episodes now and then one agent does what the IVF likes
best.
"""

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.config import Finite, Fraction, config
from rolemarl_jax.nets.agents import blank_inputs, features
from rolemarl_jax.nets.layers import MLP
from rolemarl_jax.ops import identity, td
from rolemarl_jax.rng import named
from rolemarl_jax.roles import plain
from rolemarl_jax.roles.eoi import IndividualityConfig, ivf_phase
from rolemarl_jax.roles.parts.classifier import (
    Classifier,
    certainty,
    classifier_phase,
    make_classifier,
)
from rolemarl_jax.roles.parts.method import Carry, Moment, RoleMethod
from rolemarl_jax.roles.parts.phase import Context, LossOut, Params
from rolemarl_jax.types import Array, EnvSpec, Inputs, Key


@config
class Config(IndividualityConfig):
    """Parts of the exploring EOI (key ``algo.role``), besides those that it inherits.

    Attributes:
        gamma: discount of intrinsic rewards.
        reward: factor on them.
        episode_ratio: probability that an episode is one with exploration by the IVF.
        explore_ratio: in it, probability that at a step one agent follows the IVF.
    """

    gamma: Fraction
    reward: Finite
    episode_ratio: Fraction
    explore_ratio: Fraction


class Setup(NamedTuple):
    """What the functions of the method share."""

    cfg: Config
    spec: EnvSpec
    utility: RoleMethod
    classifier: Classifier
    ivf: MLP


def make(cfg: Config, spec: EnvSpec) -> RoleMethod:
    """The method record of QMIX that explores by individuality."""
    setup = Setup(
        cfg=cfg,
        spec=spec,
        utility=plain.make(cfg.agent, spec),
        classifier=make_classifier(cfg.classifier, spec),
        ivf=MLP((*cfg.ivf, spec.n_actions)),
    )
    regularisers = {"mutual_information": cfg.mutual_information}
    return dataclasses.replace(
        setup.utility,
        init=partial(_init, setup),
        carry=lambda rows: {
            **setup.utility.carry(rows),
            "individual": jnp.zeros(rows, bool),
        },
        hypers={"classifier_lr": cfg.classifier_lr, "ivf_lr": cfg.ivf_lr},
        exact=("classifier", "ivf"),
        phases=(
            classifier_phase(partial(classifier_losses, setup), regularisers),
            ivf_phase(partial(ivf_losses, setup), cfg.tau),
        ),
        explore=partial(explore, setup),
        init_aux=lambda _, params: {"ivf": jax.tree.map(jnp.copy, params["ivf"])},
    )


def _init(setup: Setup, key: Key) -> Params:
    x = blank_inputs(1, setup.spec)
    return {
        **setup.utility.init(key),
        **setup.classifier.init(key),
        "ivf": setup.ivf.init(named(key, "ivf"), _read(setup, x)),
    }


def _read(setup: Setup, x: Inputs) -> Array:
    """Input of the IVF: observation and agent's index, `[T, B, N, O + N]`."""
    return features(x, setup.spec.n_actions, last_action=False, agent_id=True)


def classifier_losses(setup: Setup, params: Params, ctx: Context) -> LossOut:
    """Cross entropy with the agent's index, and entropy, of what was seen next."""
    log_p = setup.classifier.log_p(params, ctx.batch.obs[1:])
    return LossOut(identity.losses(log_p), certainty(log_p, ctx.batch.mask))


def ivf_losses(setup: Setup, params: Params, ctx: Context) -> LossOut:
    """Q-learning of each agent alone, rewarded for being told apart.

    The maximum is over available actions (the authors': over all of them).
    """
    batch, cfg = ctx.batch, setup.cfg
    inputs = _read(setup, batch.inputs)
    p_own = setup.classifier.own(params, batch.obs[:-1])
    next_q = setup.ivf.apply(ctx.state.aux["ivf"], inputs)[1:]
    best = td.mask_unavailable(next_q, batch.avail[1:]).max(-1)
    goes_on = 1.0 - batch.terminated[..., None]
    target = cfg.reward * p_own + cfg.gamma * goes_on * best
    value = td.chosen(setup.ivf.apply(params["ivf"], inputs)[:-1], batch.action)
    error = value - jax.lax.stop_gradient(target)
    metrics = {"value": td.masked_mean(value, batch.mask)}
    return LossOut({"ivf": (error**2).mean(-1)}, metrics)


def explore(
    setup: Setup, moment: Moment, actions: Array, carry: Carry
) -> tuple[Array, Carry]:
    """Lets one agent of some worlds take the action that the IVF likes best."""
    cfg, rows, n = setup.cfg, *actions.shape

    def key(name: str) -> Key:
        return named(moment.key, name)

    drawn = jax.random.bernoulli(key("episode"), cfg.episode_ratio, (rows,))
    individual = jnp.where(moment.reset, drawn, carry["individual"])
    now = jax.random.bernoulli(key("step"), cfg.explore_ratio, (rows,))
    who = jax.random.randint(key("agent"), (rows, 1), 0, n)
    x = Inputs(moment.observation.obs[None], actions[None], moment.reset[None])
    q = setup.ivf.apply(moment.state.params["ivf"], _read(setup, x))[0]
    liked = jnp.argmax(td.mask_unavailable(q, moment.observation.avail), axis=-1)
    led = (individual & now)[:, None] & (jnp.arange(n) == who)
    return (
        jnp.where(led, liked, actions).astype(actions.dtype),
        {**carry, "individual": individual},
    )
