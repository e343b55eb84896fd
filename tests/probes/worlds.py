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
lot                  the first action, drawn by lot, has to be repeated in the end
duties               of a public cue one agent does the same, the other the opposite
===================  ==================================================================

``coordination`` (Rashid et al. 2018, sec. 3 and appendix): agent 0's first action
chooses between a matrix game that always pays 7 and one that pays [[0, 1], [1, 8]]. The
second is monotonic in each agent's action, so that QMIX can represent it and finds 8.
VDN and IQL cannot: under uniform exploration their values of the second game are those
of the additive fit, at most 6.5 for the team and 4.5 for a single agent, and they
choose 7.

``lot``: both agents always observe zeros. In the first step one agent, drawn by lot,
can only take action 0 and the other only action 1, which neither observations nor
state show; in the second both can only take action 0. In each of the two that follow,
half a point goes to each agent that repeats its first action. Best return: 2. It needs
a memory of one's own actions: agents that do not read these, or that read the last one
and have no memory, are equal in the last two steps, do the same, and one of them is
right; they earn exactly 1. ACORM's roles are such a memory, but so is any recurrent
network that reads last actions: no world tells a role that is a function of an agent's
own trajectory from a network that remembers the same trajectory.

``duties``: at each of three steps both agents observe the same new cue; half a point
goes to agent 0 for repeating it and to agent 1 for the opposite. Best return: 3.

    Proposition. Agents that share a policy which does not read their index earn 1.5 in
    the mean, whatever they remember of observations and actions, and however much of
    it is drawn at random, roles included. If nothing is drawn, they earn 1.5 in every
    episode.
    Proof. Cues do not depend on actions. So, given the cues, the histories of both
    agents have one distribution, by induction over the steps, and both repeat the cue
    of a step with the same probability p. The expected reward is (p + 1 - p) / 2. If
    nothing is drawn, both do the same, and one of them is right. QED.

So it needs what tells an agent from another: the index as an input (PyMARL's networks,
ROMA's role encoder, EOI), or weights of its own. ACORM and R3DM have neither, and earn
1.5: their roles differ only after trajectories have, as in ``lot``. That is what this
world shows. It does not show that the roles of ROMA and EOI carry the duty, for their
utility networks read the index as well.
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
    "lot",
    "duties",
)
LENGTHS = (6, 6, 1, 4, 3, 3, 3, 2, 4, 3)
BEST = dict(zip(KINDS, (6, 6, None, 1, 3, 3, 1, 1, 2, 3), strict=True))
# Of those who cannot tell agents apart.
CEILING = {"lot": 1.0, "duties": 1.5}
# As if the branch of the two-step game were a type.
SPEC = EnvSpec("probe", 2, 2, 3, 4, 6, kinds=("left", "right"), own_type=1)

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
    is_lot, is_duties = (kind == KINDS.index(name) for name in ("lot", "duties"))

    def drawn(key):
        cue = jax.random.bernoulli(key, shape=(2,)).astype(jnp.int8)
        public = is_duties | (kind == KINDS.index("observation"))
        return jnp.where(public, cue[0], cue)

    def reset(key):
        zero = jnp.zeros((), jnp.int8)
        return State(zero, drawn(key), zero)

    def step(key, state, actions):
        t = state.t.astype(jnp.int32)
        reward = jax.lax.switch(kind, _REWARDS, t, state, actions).astype(jnp.float32)
        ended = t + 1 == jnp.array(LENGTHS)[kind]
        cut = kind == KINDS.index("constant_truncated")
        again = is_duties | (kind == KINDS.index("match"))
        two_step = kind == KINDS.index("coordination")
        after = State(
            (t + 1).astype(jnp.int8),
            jnp.where(again, drawn(key), state.cue),
            jnp.where(two_step & (t == 0), actions[0] + 1, 0).astype(jnp.int8),
        )
        return after, Step(reward, ended & ~cut, ended & cut, ended & (reward >= 1))

    def observe(state):
        shown = jax.lax.switch(kind, _SHOWN, state)
        branch = jax.nn.one_hot(state.branch - 1, 2)
        cue = 2.0 * state.cue - 1.0
        forced = jnp.where(state.t == 0, _lot(state), 0)
        avail = jnp.eye(2, dtype=bool)[forced] | ~(is_lot & (state.t < 2))
        seen = jnp.concatenate([(cue * shown)[:, None], jnp.tile(branch, (2, 1))], -1)
        return Observation(seen, jnp.concatenate([cue * ~is_lot, branch]), avail)

    return Env(SPEC, reset, step, observe, lambda state: state, lambda state: state)


def _two_step(t, state, actions):
    game = jnp.array([[0, 1], [1, 8]])[actions[0], actions[1]]
    return jnp.where(t == 0, 0, jnp.where(state.branch == 1, 7, game)) / 8


def _lot(state):
    """What was drawn by lot: 0 for one agent, 1 for the other."""
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
    lambda t, state, actions: (t >= 2) * (actions == _lot(state)).mean(),
    lambda t, state, actions: (actions == state.cue ^ jnp.arange(2)).mean(),
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
    lambda state: jnp.ones(()),
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

    # As if step and index were types.
    types = {"kinds": ("early", "late"), "own_type": 1}
    spec = EnvSpec("counting", n_agents, n_actions, 3, 2, limit, **types)
    pack = lambda s: (s.episode, s.length.astype(jnp.uint8), s.t.astype(jnp.uint8))  # noqa: E731
    unpack = lambda p: Count(p[0], p[1].astype(jnp.int32), p[2].astype(jnp.int32))  # noqa: E731
    return Env(spec, reset, step, observe, pack, unpack)
