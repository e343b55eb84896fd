"""EOI: the emergence of individuality (Jiang and Lu, arXiv:2006.05842), on QMIX.

A classifier tells agents apart by their observations; how surely it names agent i is
agent i's intrinsic reward. An intrinsic value function (IVF) of observation and action
values predicts its return, and its gradient through the action values changes the
utility network (eq. 5 to 7 of the version under review at ICLR 2021).
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.config import (
    Fraction,
    NonNegative,
    Positive,
    Size,
    config,
)
from rolemarl_jax.nets.agents import blank_inputs, features, unshared
from rolemarl_jax.nets.layers import MLP
from rolemarl_jax.ops import td
from rolemarl_jax.ops.optim import optimiser, soft_update
from rolemarl_jax.ops.td import masked_mean
from rolemarl_jax.rng import named
from rolemarl_jax.roles import plain
from rolemarl_jax.roles.parts.classifier import (
    Classifier,
    classifier_phase,
    make_classifier,
    paper_losses,
)
from rolemarl_jax.roles.parts.method import RoleMethod, begun
from rolemarl_jax.roles.parts.phase import (
    Context,
    Losses,
    LossFn,
    LossOut,
    Params,
    Phase,
)
from rolemarl_jax.types import (
    AgentOut,
    Array,
    Batch,
    EnvSpec,
    Inputs,
    Key,
    LearnerState,
)


@config
class IndividualityConfig:
    """What both forms of EOI have (key ``algo.role``).

    Attributes:
        name: of the method.
        agent: the utility network, a record of ``roles/plain.py``.
        classifier: hidden widths of the classifier.
        ivf: hidden widths of the intrinsic value function.
        classifier_lr: learning rate of the former.
        ivf_lr: learning rate of the latter.
        tau: step of the IVF's target towards it, each update.
        mutual_information: weight of the classifier's entropy.
    """

    name: str
    agent: plain.Config
    classifier: tuple[Size, ...]
    ivf: tuple[Size, ...]
    classifier_lr: NonNegative
    ivf_lr: NonNegative
    tau: Fraction
    mutual_information: NonNegative


@config
class Config(IndividualityConfig):
    """EOI's parts, besides those that it inherits.

    Where the weights of ``agent`` are each agent's own, the IVF's are too.

    Attributes:
        standardise: the IVF reads action values scaled to mean 0 and variance 1 over
            the available actions, so that it cannot be pleased by ever larger ones;
            the others read 0.
        positive_distance: weight of the classifier's other regulariser.
        window: steps back that positives come from.
        borrow: probability of each row that agents learn from each other's experience
            in it.
    """

    standardise: bool
    positive_distance: NonNegative
    window: Positive
    borrow: Fraction


class Setup(NamedTuple):
    """What the functions of the method share; ``ivf`` is a network."""

    cfg: Config
    spec: EnvSpec
    utility: RoleMethod
    classifier: Classifier
    ivf: Any


def make(cfg: Config, spec: EnvSpec) -> RoleMethod:
    """The method record of EOI."""
    mlp = MLP if cfg.agent.shared else unshared(MLP, (2,))
    setup = Setup(
        cfg=cfg,
        spec=spec,
        utility=plain.make(cfg.agent, spec),
        classifier=make_classifier(cfg.classifier, spec),
        ivf=mlp((*cfg.ivf, 1)),
    )
    changes = {"experience": partial(borrowed, setup)} if cfg.borrow else {}
    return dataclasses.replace(
        setup.utility,
        init=partial(_init, setup),
        hypers={"classifier_lr": cfg.classifier_lr, "ivf_lr": cfg.ivf_lr},
        exact=("classifier", "ivf"),
        extra_losses=partial(individuality, setup),
        phases=(
            classifier_phase(
                paper_losses(setup.classifier, cfg.window),
                {
                    "mutual_information": cfg.mutual_information,
                    "positive_distance": cfg.positive_distance,
                },
            ),
            ivf_phase(partial(ivf_losses, setup), cfg.tau),
        ),
        init_aux=lambda _, params: {"ivf": jax.tree.map(jnp.copy, params["ivf"])},
        **changes,
    )


def _init(setup: Setup, key: Key) -> Params:
    x = blank_inputs(1, setup.spec)
    q = jnp.zeros((1, 1, setup.spec.n_agents, setup.spec.n_actions))
    return {
        **setup.utility.init(key),
        **setup.classifier.init(key),
        "ivf": setup.ivf.init(named(key, "ivf"), _read(setup, x, q > 0, q)),
    }


def _read(setup: Setup, x: Inputs, avail: Array, q: Array) -> Array:
    """Input of the IVF: observation, agent's index if it is shared, action values."""
    shared = setup.cfg.agent.shared
    inputs = features(x, setup.spec.n_actions, last_action=False, agent_id=shared)
    if setup.cfg.standardise:
        q = td.standardised_available(q, avail)
    return jnp.concatenate([inputs, q], axis=-1)


def intrinsic_values(
    setup: Setup, ivf: Params, x: Inputs, avail: Array, q: Array
) -> Array:
    """Intrinsic value of each agent's action values, `[T, B, N]`."""
    return setup.ivf.apply(ivf, _read(setup, x, avail, q))[..., 0]


def ivf_phase(loss: LossFn, tau: float) -> Phase:
    """The IVF's gradient step on every batch, then its target's step towards it."""

    def after(state: LearnerState) -> LearnerState:
        target = soft_update(state.aux["ivf"], state.params["ivf"], tau)
        return state._replace(aux={**state.aux, "ivf": target})

    return Phase(
        name="ivf",
        stage="train",
        lr={"ivf": "ivf_lr"},
        optimiser=optimiser("adam", 1e-8, {}),
        loss=loss,
        scales={"ivf": 1.0},
        after=after,
    )


def ivf_losses(setup: Setup, params: Params, ctx: Context) -> LossOut:
    """Eq. 6: TD error with ``Classifier.reward`` as reward.

    The reward is that of the classifier as it now is. The target judges the target
    utility network's values. Both read float32, as ``individuality`` does.
    """
    x, avail, state = ctx.batch.inputs, ctx.batch.avail, ctx.state
    carry = begun(ctx.batch, setup.utility.carry)
    q, target_q = (
        setup.utility.q_values(groups, x, {}, carry)[0].q.astype(jnp.float32)
        for groups in (params, {**params, **state.target})
    )
    reward = setup.classifier.reward(params, ctx.batch.obs[:-1])
    next_value = intrinsic_values(setup, state.aux["ivf"], x, avail, target_q)[1:]
    goes_on = 1.0 - ctx.batch.terminated[..., None]
    target = reward + state.hypers["gamma"] * goes_on * next_value
    value = intrinsic_values(setup, params["ivf"], x, avail, q)[:-1]
    error = value - jax.lax.stop_gradient(target)
    metrics = {"value": masked_mean(value, ctx.batch.mask)}
    return LossOut({"ivf": (error**2).mean(-1)}, metrics)


def individuality(setup: Setup, params: Params, ctx: Context, out: AgentOut) -> Losses:
    """Eq. 7: minus the intrinsic value, for the utility network to make it large.

    Summed over agents, so that each one's own weights feel the paper's alpha.
    """
    given = ctx.batch.inputs, ctx.batch.avail, out.q
    now = jax.tree.map(lambda v: v[:-1], given)
    fixed = jax.lax.stop_gradient(params["ivf"])
    return {"individuality": -intrinsic_values(setup, fixed, *now).sum(-1)}


def borrowed(setup: Setup, ctx: Context) -> tuple[Batch, Array]:
    """Learning from others (appendix A.1): agents trade places in some rows.

    Whole rows are rearranged, so that recurrent networks see real trajectories.

    Returns:
        The batch, and the weight of each action value's gradient `[T+1, B, N]`: the
        probability that the observation is the agent's own in those rows, else 1.
    """
    batch = ctx.batch
    rows, n = batch.action.shape[1:]
    which, places = named(ctx.key, "rows"), named(ctx.key, "places")
    traded = jax.random.bernoulli(which, setup.cfg.borrow, (rows,))
    order = jnp.argsort(jax.random.uniform(places, (rows, n)), axis=-1)
    order = jnp.where(traded[:, None], order, jnp.arange(n))

    def rearranged(x: Array) -> Array:
        index = order.reshape((rows, n) + (1,) * (x.ndim - 2))
        return jnp.take_along_axis(x, index, axis=1)

    names = ("obs", "avail", "last_action", "action")
    steps = {name: jax.vmap(rearranged)(getattr(batch, name)) for name in names}
    batch = batch._replace(**steps, carry=jax.tree.map(rearranged, batch.carry))
    p_own = setup.classifier.own(ctx.state.params, batch.obs)
    return batch, jnp.where(traded[:, None], p_own, 1.0)
