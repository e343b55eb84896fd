"""The vocabulary that every other file speaks.

Shape legend, used in every docstring of the package:

    T  time steps of a batch row (transitions; observations have T + 1)
    B  rows of a batch, or worlds stepped together
    N  agents          A  actions of an agent
    O  features of an agent's observation
    S  features of the global state
    Z  features of a role embedding

Batches are time-major, ``[T, B, N, ...]``. Nothing here has a seed axis: seeds
are added from outside, by mapping whole functions over them.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax

Array = jax.Array
Key = jax.Array
PyTree = Any
EnvState = PyTree
PackedState = PyTree


@dataclass(frozen=True)
class EnvSpec:
    """What a learner has to know of a world before the first step.

    Attributes:
        name: the environment and its map, e.g. ``smax/2s3z``.
        n_agents: N.
        n_actions: A.
        obs_dim: O.
        state_dim: S.
        episode_limit: the most steps an episode can have.
        max_return: return of a perfect episode where it is known; value learners
            scale rewards by it.
        kinds: names of the types of agents; ``Bodies.kind`` is an index into them.
        own_type: first of the features of an agent's observation that tell its own
            type, one a kind, 1 for its own; ``None`` where agents do not see it.
        obs_flags: features of an observation that are never anything but 0 or 1, in
            rising order; replay keeps those as bits.
        state_flags: features of the state, likewise.
    """

    name: str
    n_agents: int
    n_actions: int
    obs_dim: int
    state_dim: int
    episode_limit: int
    max_return: float | None = None
    kinds: tuple[str, ...] = ("agent",)
    own_type: int | None = None
    obs_flags: tuple[int, ...] = ()
    state_flags: tuple[int, ...] = ()


class Observation(NamedTuple):
    """What agents and learner see of one world: a pure function of its state."""

    obs: Array  # [N, O] float32
    state: Array  # [S] float32
    avail: Array  # [N, A] bool


class Step(NamedTuple):
    """What one environment step returned (scalars of one world)."""

    reward: Array  # [] float32, shared by the team
    terminated: Array  # [] bool, the episode ended by itself: no bootstrap
    truncated: Array  # [] bool, the time limit cut it: bootstrap
    won: Array  # [] bool, the episode ended in a win at this step


class Bodies(NamedTuple):
    """What a spectator sees of one world's agents; nothing learns from it."""

    kind: Array  # [N] int32, the type, an index into ``EnvSpec.kinds``
    place: Array  # [N, 2] float32 in [0, 1]
    alive: Array  # [N] bool


class ResetFn(Protocol):
    """Begins an episode."""

    def __call__(self, key: Key, /) -> EnvState: ...  # noqa: D102


class StepFn(Protocol):
    """Plays one step of ``actions`` `[N]` int32."""

    def __call__(  # noqa: D102
        self, key: Key, state: EnvState, actions: Array, /
    ) -> tuple[EnvState, Step]: ...


class ObserveFn(Protocol):
    """What agents and learner see of a state; depends on nothing else."""

    def __call__(self, state: EnvState, /) -> Observation: ...  # noqa: D102


class PackFn(Protocol):
    """A state in as few bytes as ``observe`` needs."""

    def __call__(self, state: EnvState, /) -> PackedState: ...  # noqa: D102


class UnpackFn(Protocol):
    """``observe(unpack(pack(s)))`` is bit-identical to ``observe(s)``."""

    def __call__(self, packed: PackedState, /) -> EnvState: ...  # noqa: D102


class BodiesFn(Protocol):
    """The agents of a state, for those who look on."""

    def __call__(self, state: EnvState, /) -> Bodies: ...  # noqa: D102


@dataclass(frozen=True)
class Env:
    """The Env protocol: one world as a record of pure functions.

    ``terminated`` and ``truncated`` are never both true. After either, the state
    returned by ``step`` is the terminal one; callers reset it themselves, so that
    no observation is lost.

    Attributes:
        spec: sizes and limits.
        reset: begins an episode.
        step: plays one step.
        observe: what is seen of a state.
        pack: a state as replay keeps it.
        unpack: a state from what replay kept.
        bodies: types, places and lives of the agents, where the world can tell.
    """

    spec: EnvSpec
    reset: ResetFn
    step: StepFn
    observe: ObserveFn
    pack: PackFn
    unpack: UnpackFn
    bodies: BodiesFn | None = None


@dataclass(frozen=True)
class Remote:
    """A world that is played by processes of its own (`rolemarl_jax.bridge`).

    Its sizes are known once a worker has spoken.

    Attributes:
        name: the environment and its map, e.g. ``smac/2s3z``.
        game: module of ``rolemarl_jax.bridge.worker.games`` that plays it.
        settings: plain values, handed to the game.
    """

    name: str
    game: str
    settings: dict[str, Any]


def shaped(shape: tuple[int, ...], dtype: Any) -> Any:
    """The shape and type of an array that is yet to be made."""
    return jax.ShapeDtypeStruct(shape, dtype)


class AgentState(NamedTuple):
    """What the agents of B worlds bring into a step besides what they observe."""

    carry: PyTree  # [B, ...] recurrent state, by name
    last_action: Array  # [B, N] int32; -1 where the episode has just begun
    reset: Array  # [B] bool; recurrent state is zeroed before the step


class Inputs(NamedTuple):
    """What a policy reads, for a sequence of steps (T = 1 when acting)."""

    obs: Array  # [T, B, N, O]
    last_action: Array  # [T, B, N] int32; -1 where the episode has just begun
    reset: Array  # [T, B] bool; recurrent state is zeroed before this step


class Batch(NamedTuple):
    """A time-major sample of experience: T transitions, their T + 1 observations.

    A row may hold several episodes one after another. The slot of a terminal
    observation carries no transition: its ``mask`` is zero.
    """

    obs: Array  # [T+1, B, N, O]
    state: Array  # [T+1, B, S]
    avail: Array  # [T+1, B, N, A] bool
    last_action: Array  # [T+1, B, N] int32, -1 at the first step of an episode
    reset: Array  # [T+1, B] bool, first step of an episode
    action: Array  # [T, B, N] int32
    reward: Array  # [T, B] float32
    terminated: Array  # [T, B] bool
    truncated: Array  # [T, B] bool
    mask: Array  # [T, B] float32, 1 on real transitions
    carry: PyTree = ()  # [B, ...] recurrent state before the first step, if it is known
    ahead: PyTree = ()  # [T(+1), B, ...] made before the TD steps on it, if anything

    @property
    def inputs(self) -> Inputs:
        """The part of the batch that a policy may see."""
        return Inputs(self.obs, self.last_action, self.reset)


class Trajectory(NamedTuple):
    """The T steps that B worlds have just gone through, for on-policy learners.

    Episodes end and begin inside. An observation that no slot holds, because an episode
    was truncated there or the block ended, is in ``final``. A world whose episodes end
    before the block does is padded with steps that have ended and offer one action.
    """

    obs: Array  # [T, B, N, O]
    state: Array  # [T, B, S]
    avail: Array  # [T, B, N, A] bool
    last_action: Array  # [T, B, N] int32, -1 at the first step of an episode
    reset: Array  # [T, B] bool, first step of an episode
    action: Array  # [T, B, N] int32
    reward: Array  # [T, B] float32
    terminated: Array  # [T, B] bool
    truncated: Array  # [T, B] bool
    mask: Array  # [T, B] float32, 1 on real transitions
    carry: PyTree  # [B, ...] recurrent state that acted in the first step
    final: Observation  # [K, B, ...]
    final_at: Array  # [K, B] int32, the step that led there; T where there is none

    @property
    def inputs(self) -> Inputs:
        """The part that a policy may see."""
        return Inputs(self.obs, self.last_action, self.reset)


class AgentOut(NamedTuple):
    """Output of a policy over a sequence."""

    q: Array  # [T, B, N, A] action values, or logits of a stochastic policy
    feats: dict[str, Array]  # role [T, B, N, Z], embedding [T, B, N, E], ...


class LearnerState(NamedTuple):
    """Everything a learner changes; no counter lives here (design: time and seeds)."""

    params: dict[str, PyTree]  # by parameter group: agent, mixer, role, ...
    target: dict[str, PyTree]  # target copies of some groups
    opt: dict[str, PyTree]  # optimiser state, by phase
    aux: dict[str, PyTree]  # what a role method keeps besides
    hypers: dict[str, Array]  # scalars that may be swept: lr, gamma, ...
