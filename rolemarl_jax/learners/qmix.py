"""The value learner: IQL, VDN, QMIX and every role method on top of them.

One unroll of the online network, one of the target network, a mixer, TD(lambda)
targets with double Q-learning (Rashid et al. 2018, arXiv:1803.11485; PyMARL's
`learners/q_learner.py`), and whatever a role method adds.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from rolemarl_jax.config import config
from rolemarl_jax.learners.parts import phases as core
from rolemarl_jax.learners.parts.epsilon import (
    EpsilonConfig,
    epsilon_greedy,
    linear_epsilon,
)
from rolemarl_jax.nets.mixers import Mixer, make_mixer
from rolemarl_jax.ops import optim, td
from rolemarl_jax.rng import named
from rolemarl_jax.roles import make_method
from rolemarl_jax.roles.parts.method import (
    Context,
    Losses,
    Metrics,
    Moment,
    Params,
    Phase,
    RoleMethod,
)
from rolemarl_jax.types import (
    AgentOut,
    Array,
    Batch,
    EnvSpec,
    Inputs,
    Key,
    LearnerState,
    Observation,
    PyTree,
)


@config
class OptimiserConfig:
    """Optimiser of the TD step (key ``algo.optimiser``).

    Attributes:
        name, eps: see ``ops.optim``. clip: gradient norm, for each set of groups
            with one learning rate. decay: factor on the learning rate at every
            ``decay_every``-th update.
    """

    name: Literal["adam", "rmsprop"]
    eps: float
    clip: float
    decay: float
    decay_every: int


@config
class TargetConfig:
    """Target network (key ``algo.target``).

    Attributes:
        mode: ``soft`` moves it by ``tau`` at every update, ``hard`` copies it at every
            ``every``-th update.
    """

    mode: Literal["soft", "hard"]
    tau: float
    every: int


@config
class Config:
    """A value-based algorithm (``configs/algo``).

    Attributes:
        name: of the algorithm. learner: ``qmix``, this file.
        role: record of the role method, by its ``name``. mixer: of the mixer.
        lr: learning rate of agent and mixer. gamma: discount. td_lambda: trace decay.
        double_q: the online network chooses the target's action.
        reward_scale: factor on rewards inside the loss.
        precision: of the networks inside an update; see ``core.in_precision``. Acting
            is in float32.
        loss_scales: weight of ``td`` and of each loss that the role method adds.
    """

    name: str
    learner: str
    role: dict[str, Any]
    mixer: dict[str, Any]
    lr: float
    gamma: float
    td_lambda: float
    double_q: bool
    reward_scale: float
    precision: Literal["float32", "bfloat16"]
    optimiser: OptimiserConfig
    target: TargetConfig
    epsilon: EpsilonConfig
    loss_scales: dict[str, float]


def make(cfg: Config, spec: EnvSpec) -> core.Learner:
    """The learner for one configuration and world.

    Raises:
        ConfigError: a role method or mixer that cannot be made.
    """
    method = make_method(cfg.role, spec)
    mixer = make_mixer(cfg.mixer, spec)
    *phases, td_phase = (
        core.in_precision(phase, cfg.precision, method.exact)
        for phase in (*method.phases, _td_phase(cfg, method, mixer))
    )
    train = tuple(p for p in phases if p.stage == "train")
    pretrain = tuple(p for p in phases if p.stage == "pretrain")
    act, greedy = _policies(cfg, method)
    return core.Learner(
        spec=spec,
        init=_initialiser(cfg, method, mixer, (*pretrain, *train, td_phase)),
        carry=method.carry,
        act=act,
        greedy=greedy,
        epsilon=linear_epsilon(cfg.epsilon),
        update=_updater(cfg, method, (*train, td_phase)),
        pretraining=tuple(core.pretraining(p) for p in pretrain),
    )


def _initialiser(
    cfg: Config, method: RoleMethod, mixer: Mixer, phases: tuple[Phase, ...]
) -> Any:
    """``key -> LearnerState``, targets being copies of the online groups."""
    hypers = {
        "lr": cfg.lr,
        "gamma": cfg.gamma,
        "td_lambda": cfg.td_lambda,
        "reward_scale": cfg.reward_scale,
        **({"tau": cfg.target.tau} if cfg.target.mode == "soft" else {}),
        **core.weights(cfg.loss_scales)[1],
        **method.hypers,
    }

    def init(key: Key) -> LearnerState:
        params = {**method.init(named(key, "agent")), **mixer.init(named(key, "mixer"))}
        copied = (*method.target_groups, *mixer.target_groups)
        return LearnerState(
            params=params,
            target=jax.tree.map(jnp.copy, {g: params[g] for g in copied}),
            opt=core.init_optimisers(phases, params),
            aux=method.init_aux(named(key, "aux"), params),
            hypers={n: jnp.asarray(v, jnp.float32) for n, v in hypers.items()},
        )

    return init


def _policies(cfg: Config, method: RoleMethod) -> tuple[Any, Any]:
    """Exploring and greedy policies over one time step of many worlds."""

    def values(
        state: LearnerState,
        carry: PyTree,
        seen: Observation,
        last_action: Array,
        reset: Array,
        key: Key | None,
    ) -> tuple[Array, PyTree, dict[str, Array]]:
        x = Inputs(seen.obs[None], last_action[None], reset[None])
        feats, moved = method.encode(state.params, x, carry, key)
        out, moved_too = method.q_values(state.params, x, feats, carry)
        now = {name: value[0] for name, value in out.feats.items()}
        return out.q[0], {**carry, **moved, **moved_too}, now

    def act(
        state: LearnerState,
        carry: PyTree,
        seen: Observation,
        last_action: Array,
        reset: Array,
        epsilon: Array,
        key: Key,
    ) -> tuple[Array, PyTree]:
        role_key, coin = named(key, "role"), named(key, "explore")
        q, carry, _ = values(state, carry, seen, last_action, reset, role_key)
        actions = epsilon_greedy(q, seen.avail, epsilon, cfg.epsilon.joint, coin)
        moment = Moment(state, seen, reset, named(key, "method"))
        return method.explore(moment, actions, carry)

    def greedy(
        state: LearnerState,
        carry: PyTree,
        seen: Observation,
        last_action: Array,
        reset: Array,
    ) -> tuple[Array, PyTree, dict[str, Array]]:
        q, carry, feats = values(state, carry, seen, last_action, reset, None)
        q = td.mask_unavailable(q, seen.avail)
        return jnp.argmax(q, axis=-1).astype(jnp.int32), carry, feats

    return act, greedy


def _td_phase(cfg: Config, method: RoleMethod, mixer: Mixer) -> Phase:
    """The TD step as a phase: agent, mixer, and what else the method lets it train."""
    lr = {**method.td_lr, **dict.fromkeys(mixer.groups, "lr")}
    by_rate: dict[str, tuple[str, ...]] = {}
    for group, name in lr.items():
        by_rate[name] = (*by_rate.get(name, ()), group)
    clips = dict.fromkeys(by_rate.values(), cfg.optimiser.clip)

    def loss(params: Params, ctx: Context) -> tuple[Losses, Metrics]:
        return td_losses(cfg, method, mixer, params, ctx)

    return Phase(
        name="td",
        stage="train",
        lr=lr,
        optimiser=optim.optimiser(cfg.optimiser.name, cfg.optimiser.eps, clips),
        loss=loss,
        scales=core.weights(cfg.loss_scales)[0],
        decays=True,
    )


def td_losses(
    cfg: Config, method: RoleMethod, mixer: Mixer, params: Params, ctx: Context
) -> tuple[Losses, Metrics]:
    """TD loss and the method's extra losses, each `[T, B]`, with metrics.

    The target network is unrolled from the first step like the online one, and its
    groups without a copy are the online ones.
    """
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
    total = mixer.mix(params, padded, batch.state, batch.reset, out.feats)[:-1]

    frozen = jax.lax.stop_gradient({**params, **ctx.state.target})
    fixed = jax.lax.stop_gradient(feats)
    target_feats = method.target_feats(frozen, x, fixed, target_key)
    target_out = _exact(method.q_values(frozen, x, target_feats, zeros)[0])
    judge = out.q if cfg.double_q else target_out.q
    best = jnp.argmax(td.mask_unavailable(judge, batch.avail), axis=-1)
    ahead = mixer.mix(
        frozen,
        td.chosen(target_out.q, best),
        batch.state,
        batch.reset,
        target_out.feats,
    )[1:]

    bonus, reported = method.intrinsic(ctx, out)
    h = ctx.state.hypers
    reward = h["reward_scale"] * batch.reward + bonus
    target = td.lambda_targets(
        reward,
        batch.terminated,
        batch.mask,
        ahead,
        h["gamma"],
        h["td_lambda"],
    )
    error = total - jax.lax.stop_gradient(target)
    squared = (error**2).reshape((*batch.mask.shape, -1)).mean(-1)
    metrics = {
        "q_taken": td.masked_mean(total, batch.mask),
        "target": td.masked_mean(target, batch.mask),
        "valid_steps": batch.mask.mean(),
        **reported,
    }
    return {"td": squared, **method.extra_losses(params, ctx, out)}, metrics


def _exact(out: AgentOut) -> AgentOut:
    """Action values as float32, whatever the network computed in."""
    return out._replace(q=out.q.astype(jnp.float32))


def _updater(cfg: Config, method: RoleMethod, phases: tuple[Phase, ...]) -> core.Update:
    """One learner update: the phases that are due, then target and momentum copies."""
    decay = optim.step_decay(cfg.optimiser.decay, cfg.optimiser.decay_every)

    def update(
        state: LearnerState, batch: Batch, t: Array, key: Key
    ) -> tuple[LearnerState, Metrics]:
        metrics: Metrics = {}
        for phase in phases:
            state, reported = core.run_when_due(
                phase, state, batch, t, decay(t), named(key, phase.name)
            )
            metrics |= reported
        state = state._replace(target=_move_target(cfg.target, state, t))
        return method.remember(method.after_update(state), metrics), metrics

    return update


def _move_target(cfg: TargetConfig, state: LearnerState, t: Array) -> PyTree:
    online = {group: state.params[group] for group in state.target}
    if cfg.mode == "soft":
        return optim.soft_update(state.target, online, state.hypers["tau"])
    due = (t + 1) % cfg.every == 0
    return jax.lax.cond(due, lambda: online, lambda: state.target)
