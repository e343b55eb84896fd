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

from rolemarl_jax.config import config
from rolemarl_jax.nets.agents import features
from rolemarl_jax.nets.layers import MLP
from rolemarl_jax.ops import identity, td
from rolemarl_jax.rng import named
from rolemarl_jax.roles import plain
from rolemarl_jax.roles.eoi import ivf_phase
from rolemarl_jax.roles.parts.classifier import (
    Classifier,
    certainty,
    classifier_phase,
    make_classifier,
)
from rolemarl_jax.roles.parts.method import (
    Carry,
    Context,
    Losses,
    Metrics,
    Moment,
    Params,
    RoleMethod,
    blank_inputs,
)
from rolemarl_jax.types import Array, EnvSpec, Inputs, Key


@config
class Config:
    """Parts of the exploring EOI (key ``algo.role``).

    Attributes:
        agent: the utility network, a record of ``roles/plain.py``.
        classifier, ivf: hidden widths of the two networks.
        classifier_lr, ivf_lr: their learning rates.
        tau: step of the IVF's target towards it, each update.
        gamma: discount of intrinsic rewards. reward: factor on them.
        mutual_information: weight of the classifier's entropy.
        episode_ratio: probability that an episode is one with exploration by the IVF.
        explore_ratio: in it, probability that at a step one agent follows the IVF.
    """

    name: str
    agent: plain.Config
    classifier: tuple[int, ...]
    ivf: tuple[int, ...]
    classifier_lr: float
    ivf_lr: float
    tau: float
    gamma: float
    reward: float
    mutual_information: float
    episode_ratio: float
    explore_ratio: float


class Parts(NamedTuple):
    """What the functions of the method share."""

    cfg: Config
    spec: EnvSpec
    utility: RoleMethod
    classifier: Classifier
    ivf: MLP


def make(cfg: Config, spec: EnvSpec) -> RoleMethod:
    """The method record of QMIX that explores by individuality."""
    parts = Parts(
        cfg=cfg,
        spec=spec,
        utility=plain.make(cfg.agent, spec),
        classifier=make_classifier(cfg.classifier, spec),
        ivf=MLP((*cfg.ivf, spec.n_actions)),
    )
    regularisers = {"mutual_information": cfg.mutual_information}
    return dataclasses.replace(
        parts.utility,
        init=partial(_init, parts),
        carry=lambda rows: {
            **parts.utility.carry(rows),
            "individual": jnp.zeros(rows, bool),
        },
        hypers={"classifier_lr": cfg.classifier_lr, "ivf_lr": cfg.ivf_lr},
        exact=("classifier", "ivf"),
        phases=(
            classifier_phase(partial(classifier_losses, parts), regularisers),
            ivf_phase(partial(ivf_losses, parts), cfg.tau),
        ),
        explore=partial(explore, parts),
        init_aux=lambda _, params: {"ivf": jax.tree.map(jnp.copy, params["ivf"])},
    )


def _init(parts: Parts, key: Key) -> Params:
    x = blank_inputs(1, parts.spec.n_agents, parts.spec.obs_dim)
    return {
        **parts.utility.init(key),
        **parts.classifier.init(key),
        "ivf": parts.ivf.init(named(key, "ivf"), _seen(parts, x)),
    }


def _seen(parts: Parts, x: Inputs) -> Array:
    """Input of the IVF: observation and agent's index, `[T, B, N, O + N]`."""
    return features(x, parts.spec.n_actions, last_action=False, agent_id=True)


def classifier_losses(
    parts: Parts, params: Params, ctx: Context
) -> tuple[Losses, Metrics]:
    """Cross entropy with the agent's index, and entropy, of what was seen next."""
    log_p = parts.classifier.log_p(params, ctx.batch.obs[1:])
    return identity.losses(log_p), certainty(log_p, ctx.batch.mask)


def ivf_losses(parts: Parts, params: Params, ctx: Context) -> tuple[Losses, Metrics]:
    """Q-learning of each agent alone, rewarded for being told apart.

    The maximum is over available actions (the authors': over all of them).
    """
    batch, cfg = ctx.batch, parts.cfg
    seen = _seen(parts, batch.inputs)
    sure = parts.classifier.own(params, batch.obs[:-1])
    ahead = parts.ivf.apply(ctx.state.aux["ivf"], seen)[1:]
    best = td.mask_unavailable(ahead, batch.avail[1:]).max(-1)
    goes_on = 1.0 - batch.terminated[..., None]
    goal = cfg.reward * sure + cfg.gamma * goes_on * best
    value = td.chosen(parts.ivf.apply(params["ivf"], seen)[:-1], batch.action)
    error = value - jax.lax.stop_gradient(goal)
    return {"ivf": (error**2).mean(-1)}, {"value": td.masked_mean(value, batch.mask)}


def explore(
    parts: Parts, moment: Moment, actions: Array, carry: Carry
) -> tuple[Array, Carry]:
    """Lets one agent of some worlds take the action that the IVF likes best."""
    cfg, rows, n = parts.cfg, *actions.shape

    def key(name: str) -> Key:
        return named(moment.key, name)

    drawn = jax.random.bernoulli(key("episode"), cfg.episode_ratio, (rows,))
    individual = jnp.where(moment.reset, drawn, carry["individual"])
    now = jax.random.bernoulli(key("step"), cfg.explore_ratio, (rows,))
    who = jax.random.randint(key("agent"), (rows, 1), 0, n)
    x = Inputs(moment.seen.obs[None], actions[None], moment.reset[None])
    q = parts.ivf.apply(moment.state.params["ivf"], _seen(parts, x))[0]
    liked = jnp.argmax(td.mask_unavailable(q, moment.seen.avail), axis=-1)
    led = (individual & now)[:, None] & (jnp.arange(n) == who)
    return (
        jnp.where(led, liked, actions).astype(actions.dtype),
        {**carry, "individual": individual},
    )
