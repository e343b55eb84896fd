"""The TD step of value learners: one loss, whoever brings the batch.

One unroll of the online network, one of the target network where there is one, a mixer,
TD(lambda) targets (Rashid et al. 2018, arXiv:1803.11485; PyMARL's
`learners/q_learner.py`), and whatever a role method adds.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.config import ConfigError, Positive, UpTo1, config
from rolemarl_jax.learners.parts import phases
from rolemarl_jax.learners.parts.check import batch_shapes
from rolemarl_jax.learners.parts.optimiser import OptimiserConfig
from rolemarl_jax.nets.mixers import Mixer
from rolemarl_jax.ops import optim, td
from rolemarl_jax.reads import ReadWhen
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.method import (
    Intrinsic,
    RoleMethod,
    begun,
    no_intrinsic,
    own_experience,
)
from rolemarl_jax.roles.parts.phase import Context, LossOut, Params, Phase
from rolemarl_jax.types import (
    AgentOut,
    Array,
    Batch,
    EnvSpec,
    Key,
    LearnerState,
    PyTree,
)


@config
class DecayConfig(OptimiserConfig):
    """Optimiser of the TD step (key ``algo.optimiser``), whose rate decays.

    Attributes:
        decay: factor on the learning rate at every ``decay_every``-th update.
        decay_every: in updates.
    """

    decay: UpTo1
    decay_every: Positive


# Of every learner that makes TD steps.
READ_WHEN = (
    ReadWhen(
        ("optimiser.decay_every",),
        lambda c: c.optimiser.decay < 1,
        "algo.optimiser.decay below 1",
    ),
    ReadWhen(
        ("mixer.hypernet_hidden",),
        lambda c: c.mixer.get("hypernet_layers") != 1,
        "algo.mixer.hypernet_layers=2",
    ),
)


class Values(NamedTuple):
    """What action values are made of, and who chooses the target's action."""

    method: RoleMethod
    mixer: Mixer
    double_q: bool  # the online network chooses what the target network values

    def init(self, spec: EnvSpec, key: Key) -> Params:
        """Parameters of method and mixer.

        Raises:
            ConfigError: the mixer reads roles and the method has none, or both make a
                group of one name.
        """
        method, inputs = self.method, batch_shapes(spec).inputs
        params = method.init(named(key, "agent"))
        carry = jax.eval_shape(lambda: method.carry(2))
        feats, _ = jax.eval_shape(method.encode, params, inputs, carry, key)
        mixing = self.mixer.init(named(key, "mixer"), feats)
        both = sorted(params.keys() & mixing.keys())
        if both:
            raise ConfigError(
                f"algo.role: the method makes the parameter group {', '.join(both)}, "
                "as the mixer does; allowed: another name"
            )
        return {**params, **mixing}

    @property
    def target_groups(self) -> tuple[str, ...]:
        """Groups of which a target network keeps copies."""
        return (*self.method.target_groups, *self.mixer.target_groups)


def td_phase(
    values: Values, optimiser: DecayConfig, loss_scales: Mapping[str, float]
) -> Phase:
    """The TD step as a phase: agent, mixer, and what else the method lets it train."""
    lr = {**values.method.td_lr, **dict.fromkeys(values.mixer.groups, "lr")}
    by_rate: dict[str, tuple[str, ...]] = {}
    for group, name in lr.items():
        by_rate[name] = (*by_rate.get(name, ()), group)
    clips = dict.fromkeys(by_rate.values(), optimiser.clip)
    return Phase(
        name="td",
        stage="train",
        lr=lr,
        optimiser=optim.optimiser(optimiser.name, optimiser.eps, clips),
        loss=partial(td_losses, values),
        scales=phases.weights(loss_scales)[0],
        decays=True,
    )


def td_losses(values: Values, params: Params, ctx: Context) -> LossOut:
    """TD loss and the method's extra losses, each `[T, B]`, with metrics.

    The target network is unrolled from the first step like the online one, and its
    groups without a copy are the online ones.
    """
    method, mixer, _ = values
    batch, weight = method.experience(ctx)
    ctx, x, carry = ctx._replace(batch=batch), batch.inputs, begun(batch, method.carry)
    feats, _ = method.encode(params, x, carry, named(ctx.key, "online"))
    out = _exact(method.q_values(params, x, feats, carry)[0])
    if weight is not None:
        out = out._replace(q=td.scale_gradient(out.q, weight[..., None]))
    taken = td.chosen(out.q[:-1], batch.action)
    # The last observation has no action; its entry only keeps the state GRU whole.
    padded = jnp.concatenate([taken, jnp.zeros_like(taken[:1])])
    encoded = mixer.encode(params, batch.state, batch.reset)
    q_tot = mixer.mix(params, padded, encoded, out.feats)[:-1]

    known = batch.ahead.reward if batch.ahead else None
    bonus = method.intrinsic(ctx, out) if known is None else Intrinsic(known)
    target = jax.lax.stop_gradient(_target(values, params, ctx, (out, encoded), bonus))
    error = q_tot - target
    squared = (error**2).reshape((*batch.mask.shape, -1)).mean(-1)
    metrics = {
        "q_taken": td.masked_mean(q_tot, batch.mask),
        "target": td.masked_mean(target, batch.mask),
        "valid_steps": batch.mask.mean(),
        **bonus.metrics,
    }
    losses = {"td": squared, **method.extra_losses(params, ctx, out)}
    return LossOut(losses, metrics, bonus.aux)


def _target(
    values: Values,
    params: Params,
    ctx: Context,
    online: tuple[AgentOut, PyTree],
    bonus: Intrinsic,
) -> Array:
    """TD(lambda) targets of the scaled reward and the method's own.

    Args:
        online: what agents and the mixer's encoder gave with ``params``; what has no
            copy of its own is not computed again.
    """
    batch, h, mixer = ctx.batch, ctx.state.hypers, values.mixer
    params = {**params, **ctx.state.target}
    (out, encoded), params = jax.lax.stop_gradient((online, params))
    if batch.ahead and batch.ahead.encoded is not None:
        encoded = batch.ahead.encoded
    elif not ctx.state.target.keys().isdisjoint(mixer.encoders):
        encoded = mixer.encode(params, batch.state, batch.reset)
    judge = _judge(values, params, ctx, out) if ctx.state.target else out
    selector_q = out.q if values.double_q else judge.q
    best = jnp.argmax(td.mask_unavailable(selector_q, batch.avail), axis=-1)
    chosen = td.chosen(judge.q, best)
    next_q_tot = mixer.mix(params, chosen, encoded, judge.feats)[1:]
    return td.lambda_targets(
        h["reward_scale"] * batch.reward + bonus.reward,
        batch.terminated,
        batch.mask,
        next_q_tot,
        h["gamma"],
        h["td_lambda"],
    )


def _judge(values: Values, params: Params, ctx: Context, out: AgentOut) -> AgentOut:
    """The target network's output; without copies the online one judges itself."""
    method, x, ahead = values.method, ctx.batch.inputs, ctx.batch.ahead
    if ahead and ahead.q is not None:
        return AgentOut(ahead.q, {})
    key, feats = named(ctx.key, "target"), {}
    if method.target_feats is not None:
        feats = method.target_feats(params, x, out.feats, key)
    carry = begun(ctx.batch, method.carry)
    return _exact(method.q_values(params, x, feats, carry)[0])


class Ahead(NamedTuple):
    """What is made of a batch before the TD steps on it, which leave it as it is."""

    q: Array | None = None  # [T+1, B, N, A] of the target network
    encoded: PyTree = None  # what its mixer reads of the state, [T+1, B, ...]
    reward: Array | None = None  # [T, B], the method's own


def judged(values: Values, state: LearnerState, batch: Batch) -> Batch:
    """The batch with what all TD steps on it would get from the target network alike.

    Not what the online network has a part in: by role features, by groups that have no
    copy, or by choosing what is learnt from.
    """
    method, mixer = values.method, values.mixer
    if not state.target or method.experience is not own_experience:
        return batch
    params, q, encoded = {**state.params, **state.target}, None, None
    if method.target_feats is None and method.td_lr.keys() <= state.target.keys():
        carry = begun(batch, method.carry)
        q = _exact(method.q_values(params, batch.inputs, {}, carry)[0]).q
    if mixer.encoders and state.target.keys() >= set(mixer.encoders):
        encoded = mixer.encode(params, batch.state, batch.reset)
    return batch._replace(ahead=Ahead(q, encoded))


def rewarded(values: Values, ctx: Context) -> tuple[Batch, Intrinsic]:
    """The batch with the method's own reward, by the networks as they are before it.

    A reward is part of what is learnt from: it does not move with the roles that TD
    steps on the batch change.
    """
    method, batch = values.method, ctx.batch
    if method.intrinsic is no_intrinsic or method.experience is not own_experience:
        return batch, Intrinsic(0.0)
    params, x, carry = ctx.state.params, batch.inputs, begun(batch, method.carry)
    feats, _ = method.encode(params, x, carry, named(ctx.key, "online"))
    out = _exact(method.q_values(params, x, feats, carry)[0])
    bonus = method.intrinsic(ctx, out)
    ahead = (batch.ahead or Ahead())._replace(reward=bonus.reward)
    return batch._replace(ahead=ahead), bonus


def _exact(out: AgentOut) -> AgentOut:
    """Action values as float32, whatever the network computed in."""
    return out._replace(q=out.q.astype(jnp.float32))
