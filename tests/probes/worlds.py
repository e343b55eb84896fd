"""Worlds with known answers.

``probe(kind)`` is one world whose kind may be a traced number, so that one compiled
program trains on all of them side by side. Two agents, two actions, at most six steps.

===================  ==================================================================
constant_terminated  reward 1 for six steps, then the end: values are discounted sums
constant_truncated   the same, but cut by the time limit: values are 1 / (1 - gamma)
observation          one step that pays what its observation shows: 0 or 1
delayed              four steps, 1 at the last: values are powers of gamma
action               three steps, half a point for each agent that takes action 1
match                three steps, half a point for each agent that repeats its cue
memory               the cue of the first step has to be repeated in the third
coordination         QMIX's two-step game, divided by 8
two_roles            forced first actions, then each agent must go on with its own
ids                  three steps, half a point to agent i for action i
===================  ==================================================================

``coordination`` (Rashid et al. 2018, sec. 3 and appendix): agent 0's first action
chooses between a matrix game that always pays 7 and one that pays [[0, 1], [1, 8]]. The
second is monotonic in each agent's action, so that QMIX can represent it and finds 8.
VDN and IQL cannot: under uniform exploration their values of the second game are those
of the additive fit, at most 6.5 for the team and 4.5 for a single agent, and they
choose 7.

``two_roles``: both agents always observe zeros. In the first step one agent, drawn by
lot, can only take action 0 and the other only action 1, which neither observations nor
state show. In each of the three steps that follow, half a point goes to each agent that
repeats its first action; all actions are available. Optimum: 3.

    Proposition. A deterministic policy, memoryless or recurrent, that agents share and
    that reads neither an agent's index nor its last action, earns exactly 1.5.
    Proof. Both agents start from the same recurrent state and read the same
    observations; by induction their states and so their action values are equal at each
    step. From the second step on the available actions are equal too, and so are the
    actions, whichever they are. Then exactly one of the agents is right in each of
    three steps. QED.

Nor does the index help, for it tells nothing of the lot: with it a policy that does not
read last actions earns 1.5 in the mean. A policy with memory that reads its last action
can earn 3. So can one whose roles come from the trajectory of observations and actions
(ACORM). The lot matters: were roles tied to indices, QMIX's mixer, which weighs agents
by index, would tell them apart and settle for one agent of the two.

``ids``: as before, but the role is the index and no first action is forced. By the same
proof a policy that does not read the index earns exactly 1.5 even if it reads last
actions, because these are equal as well; so does ACORM, which has no index.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.types import Env, EnvSpec, Observation, Step

KINDS = (
    "constant_terminated",
    "constant_truncated",
    "observation",
    "delayed",
    "action",
    "match",
    "memory",
    "coordination",
    "two_roles",
    "ids",
)
LENGTHS = (6, 6, 1, 4, 3, 3, 3, 2, 4, 3)
BEST = dict(zip(KINDS, (6, 6, None, 1, 3, 3, 1, 1, 3, 3), strict=True))
BLIND = 1.5
SPEC = EnvSpec("probe", 2, 2, 3, 4, 6)

DISCOUNTS = dict.fromkeys(KINDS, 0.9) | {"constant_truncated": 0.5}


def value(kind, memory=True):
    """Mean over the steps of an episode of the value that a value learner finds.

    Without memory all steps look alike. Their one value is the mean of its targets,
    ``v = (sum of rewards + gamma v (steps not terminated)) / steps``.
    """
    g = DISCOUNTS[kind]
    if not memory:
        return {
            "constant_terminated": 6 / (6 - 5 * g),
            "constant_truncated": 1 / (1 - g),
            "observation": 0.5,
            "delayed": 1 / (4 - 3 * g),
        }[kind]
    sums = [sum(g**j for j in range(left)) for left in range(1, 7)]
    return {
        "constant_terminated": sum(sums) / 6,
        "constant_truncated": 1 / (1 - g),
        "observation": 0.5,
        "delayed": sum(g**t for t in range(4)) / 4,
    }[kind]


class State(NamedTuple):
    """Step, cue of each agent (0 or 1) and branch of the two-step game (0: none)."""

    t: jax.Array
    cue: jax.Array
    branch: jax.Array


def probe(kind):
    """The probe of that index, an int or a traced int32."""
    kind = jnp.asarray(kind)

    def reset(key):
        zero, cue = jnp.zeros((), jnp.int8), _cue(key)
        public = kind == KINDS.index("observation")
        return State(zero, jnp.where(public, cue[0], cue), zero)

    def step(key, state, actions):
        t = state.t.astype(jnp.int32)
        reward = jax.lax.switch(kind, _REWARDS, t, state, actions).astype(jnp.float32)
        ended = t + 1 == jnp.array(LENGTHS)[kind]
        cut = kind == KINDS.index("constant_truncated")
        again = kind == KINDS.index("match")
        two_step = kind == KINDS.index("coordination")
        after = State(
            (t + 1).astype(jnp.int8),
            jnp.where(again, _cue(key), state.cue),
            jnp.where(two_step & (t == 0), actions[0] + 1, 0).astype(jnp.int8),
        )
        return after, Step(reward, ended & ~cut, ended & cut, ended & (reward >= 1))

    def observe(state):
        shown = jax.lax.switch(kind, _SHOWN, state)
        branch = jax.nn.one_hot(state.branch - 1, 2)
        blind = kind == KINDS.index("two_roles")
        cue = 2.0 * state.cue - 1.0
        forced = jnp.eye(2, dtype=bool)[_role(state)] | ~(blind & (state.t == 0))
        seen = jnp.concatenate([(cue * shown)[:, None], jnp.tile(branch, (2, 1))], -1)
        return Observation(seen, jnp.concatenate([cue * ~blind, branch]), forced)

    return Env(SPEC, reset, step, observe, lambda state: state, lambda state: state)


def _cue(key):
    return jax.random.bernoulli(key, shape=(2,)).astype(jnp.int8)


def _two_step(t, state, actions):
    game = jnp.array([[0, 1], [1, 8]])[actions[0], actions[1]]
    return jnp.where(t == 0, 0, jnp.where(state.branch == 1, 7, game)) / 8


def _roles(t, state, actions):
    return (t > 0) * (actions == _role(state)).mean()


def _role(state):
    """What two_roles drew by lot: 0 for one agent, 1 for the other."""
    return state.cue[0] ^ jnp.arange(2)


_REWARDS = (
    lambda t, state, actions: jnp.ones(()),
    lambda t, state, actions: jnp.ones(()),
    lambda t, state, actions: state.cue[0].astype(jnp.float32),
    lambda t, state, actions: (t == 3).astype(jnp.float32),
    lambda t, state, actions: (actions == 1).mean(),
    lambda t, state, actions: (actions == state.cue).mean(),
    lambda t, state, actions: (t == 2) * (actions == state.cue).mean(),
    _two_step,
    _roles,
    lambda t, state, actions: (actions == jnp.arange(2)).mean(),
)


def _nothing(state):
    return jnp.zeros(())


_SHOWN = (
    _nothing,
    _nothing,
    lambda state: jnp.ones(()),
    _nothing,
    _nothing,
    lambda state: jnp.ones(()),
    lambda state: (state.t == 0).astype(jnp.float32),
    _nothing,
    _nothing,
    _nothing,
)


class Count(NamedTuple):
    """Which episode, how long it will be, and the step."""

    episode: jax.Array
    length: jax.Array
    t: jax.Array


def counting(limit=7, n_agents=2, n_actions=3):
    """Ragged episodes whose observations tell which episode and step they show.

    Observation of agent i: (episode, step, i); state: (episode, step); the reward is
    ``episode / 2 ** 16 + step``. Episodes of full length are truncated, shorter ones
    terminated. Action 0 is unavailable at odd steps.
    """

    def reset(key):
        which, length = jax.random.split(key)
        zero = jnp.zeros((), jnp.int32)
        return Count(
            jax.random.randint(which, (), 0, 2**20),
            jax.random.randint(length, (), 1, limit + 1),
            zero,
        )

    def step(key, state, actions):
        after = state._replace(t=state.t + 1)
        ended = after.t == state.length
        reward = state.episode / 2.0**16 + state.t
        cut = ended & (state.length == limit)
        return after, Step(reward, ended & ~cut, cut, ended & (state.episode % 2 == 0))

    def observe(state):
        seen = jnp.stack([state.episode, state.t]).astype(jnp.float32)
        ids = jnp.arange(n_agents, dtype=jnp.float32)
        obs = jnp.concatenate([jnp.tile(seen, (n_agents, 1)), ids[:, None]], -1)
        avail = jnp.arange(n_actions) >= state.t % 2
        return Observation(obs, seen, jnp.tile(avail, (n_agents, 1)))

    spec = EnvSpec("counting", n_agents, n_actions, 3, 2, limit)
    pack = lambda s: (s.episode, s.length.astype(jnp.uint8), s.t.astype(jnp.uint8))  # noqa: E731
    unpack = lambda p: Count(p[0], p[1].astype(jnp.int32), p[2].astype(jnp.int32))  # noqa: E731
    return Env(spec, reset, step, observe, pack, unpack)
