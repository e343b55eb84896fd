"""MAAC: actors with an attentive critic, off-policy (Iqbal and Sha 2019).

Soft actor-critic for discrete actions (arXiv:1810.02912; authors'
`algorithms/attention_sac.py`): a critic in which every agent attends to the others'
observations and actions, and the advantage over what the other agents do as baseline.
Policies are feed-forward.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rolemarl_jax.config import (
    Above0,
    ConfigError,
    Count,
    Finite,
    Fraction,
    NonNegative,
    Size,
    config,
    require_divisor,
)
from rolemarl_jax.learners.parts import acting, phases, precision
from rolemarl_jax.learners.parts.check import batch_shapes, check_losses
from rolemarl_jax.learners.parts.learner import (
    Beginning,
    Learner,
    UpdateOut,
    make_init,
)
from rolemarl_jax.learners.parts.precision import Precision
from rolemarl_jax.learners.parts.rewards import reward_scale
from rolemarl_jax.nets.dists import categorical
from rolemarl_jax.nets.maac import Networks, make_networks
from rolemarl_jax.ops import optim, td
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.phase import Context, LossOut, Params, Phase
from rolemarl_jax.roles.parts.shaping import Shaping, make_shaping, shaped
from rolemarl_jax.types import Array, Batch, EnvSpec, Key, LearnerState
from rolemarl_jax.types import shaped as shape_of


@config
class Config:
    """MAAC (``configs/algo``).

    Attributes:
        name: of the algorithm.
        learner: ``maac``, this file.
        shaping: of the reward.
        shared: one set of weights for all agents, which then read their index, instead
            of one each.
        policy_widths: hidden layers of a policy.
        critic_width: units of the critic's layers, all heads together.
        heads: of its attention.
        actor_lr: learning rate of the policies.
        critic_lr: learning rate of the critic.
        gamma: discount.
        tau: step of the targets.
        reward_scale: factor on rewards, shaping included, or none for
            ``rewards.reward_scale``.
        temperature: weight of the entropy.
        batch: transitions of an update, drawn from the sampled episodes.
        attention_reg: weight of squared attention logits.
        policy_reg: weight of squared policy logits.
        weight_decay: of the critic.
        critic_clip: gradient norm of the critic, an agent.
        actor_clip: gradient norm of the policies.
        precision: of the networks inside an update; see ``parts.precision``.
            Acting is in float32.
    """

    name: str
    learner: str
    shaping: dict[str, Any]
    shared: bool
    policy_widths: tuple[Size, ...]
    critic_width: Size
    heads: Size
    actor_lr: NonNegative
    critic_lr: NonNegative
    gamma: Fraction
    tau: Fraction
    reward_scale: Finite | None
    temperature: NonNegative
    batch: Count
    attention_reg: NonNegative
    policy_reg: NonNegative
    weight_decay: NonNegative
    critic_clip: Above0
    actor_clip: Above0
    precision: Precision


class Transitions(NamedTuple):
    """M transitions, in no order."""

    obs: Array  # [M, N, O]
    avail: Array  # [M, N, A] bool
    action: Array  # [M, N] int32
    reward: Array  # [M, N]
    next_obs: Array  # [M, N, O]
    next_avail: Array  # [M, N, A] bool
    terminated: Array  # [M] bool
    mask: Array  # [M]


class Setup(NamedTuple):
    """What the functions of the learner share."""

    cfg: Config
    spec: EnvSpec
    nets: Networks
    shaping: Shaping


def make(cfg: Config, spec: EnvSpec) -> Learner:
    """The learner for one configuration and world.

    Raises:
        ConfigError: one agent only, heads that do not fit, an unknown shaping.
    """
    if spec.n_agents < 2:
        raise ConfigError(f"algo: maac needs two agents or more, {spec.name} has one")
    require_divisor("algo.heads", cfg.heads, "algo.critic_width", cfg.critic_width)
    setup = Setup(
        cfg=cfg,
        spec=spec,
        nets=make_networks(
            spec, cfg.policy_widths, cfg.critic_width, cfg.heads, shared=cfg.shared
        ),
        shaping=make_shaping(cfg.shaping, spec),
    )
    own, look = _phases(setup), acting.feed_forward(setup.nets.logits)
    begin = _beginning(setup, own)
    check_losses(setup.shaping.phases, begin.shapes, batch_shapes(spec))
    check_losses(own, begin.shapes, _transition_shapes(setup))
    return Learner(
        spec=spec,
        init=begin.init,
        hypers=begin.hypers,
        samples=True,
        carry=lambda _: {},
        act=acting.sampling(look),
        greedy=acting.likeliest(look),
        scores=acting.without_roles(look),
        epsilon=lambda _: jnp.zeros(()),
        update=jax.jit(partial(_update, setup, own)),
        pretraining=(),
    )


def _beginning(setup: Setup, own: tuple[Phase, ...]) -> Beginning:
    """Policies and critic have target copies."""
    cfg, spec, nets, shaping = setup

    def params(key: Key) -> Params:
        return {**nets.init(key), **shaping.init(named(key, "shaping"))}

    return make_init(
        params=params,
        target_groups=tuple(jax.eval_shape(nets.init, jax.random.key(0))),
        phases=(*own, *shaping.phases),
        hypers={
            "actor_lr": cfg.actor_lr,
            "critic_lr": cfg.critic_lr,
            "gamma": cfg.gamma,
            "temperature": cfg.temperature,
            "reward_scale": reward_scale(cfg.reward_scale, spec),
            "tau": cfg.tau,
        },
        of_method=shaping.hypers,
    )


def critic_losses(nets: Networks, params: Params, ctx: Context) -> LossOut:
    """Squared error against soft targets, summed over agents, `[M]` (MAAC eq. 7).

    ``y_i = r_i + gamma (1 - d) (Q'_i(o', a') - alpha log pi'(a'_i | o'_i))`` with a'
    from the target policies.
    """
    batch, state = ctx.batch, ctx.state
    values, logits = nets.values(params, batch.obs, batch.action)
    next_logits = nets.logits(state.target["policy"], batch.next_obs)
    policy = categorical(next_logits, batch.next_avail)
    action, log_prob = policy.sample_and_log_prob(seed=named(ctx.key, "next"))
    next_values, _ = nets.values(state.target, batch.next_obs, action)
    soft = td.chosen(next_values, action) - state.hypers["temperature"] * log_prob
    goes_on = ~batch.terminated[:, None]
    target = batch.reward + state.hypers["gamma"] * goes_on * soft
    taken = td.chosen(values, batch.action)
    error = (taken - jax.lax.stop_gradient(target)) ** 2
    n = error.shape[-1]
    losses = {
        "td": error.sum(-1),
        "attention": (logits**2).sum((-1, -2, -3)) / (n - 1),
    }
    return LossOut(losses, {"q_taken": td.masked_mean(taken, batch.mask)})


def policy_losses(nets: Networks, params: Params, ctx: Context) -> LossOut:
    """Policy gradient with a counterfactual baseline, summed over agents (eq. 8, 9).

    ``log pi(a_i) (alpha log pi(a_i) - (Q_i(o, a) - b_i))`` with all actions from the
    current policies and ``b_i = E_{a ~ pi_i} Q_i(o, (a, a_others))``.
    """
    batch = ctx.batch
    logits = nets.logits(params["policy"], batch.obs)
    policy = categorical(logits, batch.avail)
    action, log_prob = policy.sample_and_log_prob(seed=named(ctx.key, "now"))
    values, _ = nets.values(ctx.state.params, batch.obs, action)
    baseline = (policy.probs * values).sum(-1)
    advantage = td.chosen(values, action) - baseline
    weight = ctx.state.hypers["temperature"] * log_prob - advantage
    losses = {
        "policy": (log_prob * jax.lax.stop_gradient(weight)).sum(-1),
        "logits": (logits**2).mean(-1).sum(-1),
    }
    entropy = td.masked_mean(jnp.asarray(policy.entropy()), batch.mask)
    return LossOut(losses, {"entropy": entropy})


def _phases(setup: Setup) -> tuple[Phase, ...]:
    """Critic, then policies, on the same transitions."""
    cfg, nets, n = setup.cfg, setup.nets, setup.spec.n_agents
    critic_groups = ("critic_own", "critic_shared")
    critic_step = optim.optimiser(
        "adam", 1e-8, {critic_groups: cfg.critic_clip * n}, cfg.weight_decay
    )
    whole = {("policy",): cfg.actor_clip}
    policy_step = optim.optimiser("adam", 1e-8, whole if cfg.shared else {})
    if not cfg.shared:
        policy_step = optax.chain(optim.clipped_each(cfg.actor_clip), policy_step)
    own = (
        Phase(
            name="critic",
            stage="train",
            lr=dict.fromkeys(critic_groups, "critic_lr"),
            # N agents' losses meet in what they share.
            optimiser=optax.chain(optim.scaled("critic_shared", 1 / n), critic_step),
            loss=partial(critic_losses, nets),
            scales={"td": 1.0, "attention": cfg.attention_reg},
        ),
        Phase(
            name="policy",
            stage="train",
            lr={"policy": "actor_lr"},
            optimiser=policy_step,
            loss=partial(policy_losses, nets),
            scales={"policy": 1.0, "logits": cfg.policy_reg},
        ),
    )
    return tuple(precision.of_phase(phase, cfg.precision, ()) for phase in own)


def draw(batch: Batch, reward: Array, count: int, key: Key) -> Transitions:
    """Real transitions of a batch, uniform, without replacement.

    Args:
        reward: `[T, B, N]`. count: how many; fewer are marked by the mask if the
            batch has fewer.
    """
    flat = batch.mask.reshape(-1)
    lottery = jnp.where(flat > 0, jax.random.uniform(key, flat.shape), -1.0)
    score, pick = jax.lax.top_k(lottery, min(count, flat.shape[0]))

    def take(x: Array) -> Array:
        return x.reshape((-1, *x.shape[2:]))[pick]

    return Transitions(
        obs=take(batch.obs[:-1]),
        avail=take(batch.avail[:-1]),
        action=take(batch.action),
        reward=take(reward),
        next_obs=take(batch.obs[1:]),
        # Padding has no available action; its distribution only has to be finite.
        next_avail=take(batch.avail[1:]),
        terminated=take(batch.terminated),
        mask=(score >= 0).astype(jnp.float32),
    )


def _transitions(
    setup: Setup, state: LearnerState, batch: Batch, key: Key
) -> Transitions:
    """What critic and policies learn from, with the shaped and scaled rewards."""
    own = shaped(setup.shaping, state, batch.reward, batch.obs[:-1])
    scaled = state.hypers["reward_scale"] * own
    return draw(batch, scaled, setup.cfg.batch, key)


def _transition_shapes(setup: Setup) -> Transitions:
    """Shapes of some transitions."""
    batch = batch_shapes(setup.spec)
    reward = shape_of(batch.action.shape, jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(partial(draw, count=2), batch, reward, key=key)


def _update(
    setup: Setup,
    own: tuple[Phase, ...],
    state: LearnerState,
    batch: Batch,
    t: Array,
    key: Key,
) -> UpdateOut:
    """Shaping, critic, policies, target copies."""
    one, out = jnp.ones(()), phases.nothing_done(state)
    out = phases.run_phases(setup.shaping.phases, out, batch, t, one, key)
    transitions = _transitions(setup, out.state, batch, named(key, "draw"))
    out = phases.run_phases(own, out, transitions, t, one, key)
    online = {group: out.state.params[group] for group in out.state.target}
    tau = out.state.hypers["tau"]
    moved = optim.soft_update(out.state.target, online, tau)
    return out._replace(state=out.state._replace(target=moved))
