"""What the program needs of an algorithm, and the state that it begins with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from rolemarl_jax.config import ConfigError, nearest
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.method import CarryFn, Feats, InitAuxFn, InitFn, no_aux
from rolemarl_jax.roles.parts.phase import Metrics, Phase
from rolemarl_jax.roles.parts.view import RoleMetricsFn, nothing_more
from rolemarl_jax.types import (
    AgentState,
    Array,
    Batch,
    EnvSpec,
    Key,
    LearnerState,
    Observation,
    PyTree,
    Trajectory,
    shaped,
)

Experience = Batch | Trajectory


class UpdateOut(NamedTuple):
    """What an update, or one gradient step of it, leaves."""

    state: LearnerState
    metrics: Metrics  # of phases that were not due: NaN
    finite: Array  # [] bool, losses and gradients of those that were


class UpdateFn(Protocol):
    """Learns from one batch; ``t`` counts updates and is not batched over seeds."""

    def __call__(  # noqa: D102
        self, state: LearnerState, batch: Experience, t: Array, key: Key, /
    ) -> UpdateOut: ...


class ActFn(Protocol):
    """Exploring actions `[B, N]` of B worlds, and the recurrent state after them."""

    def __call__(  # noqa: D102
        self,
        state: LearnerState,
        agents: AgentState,
        observation: Observation,
        epsilon: Array,
        key: Key,
        /,
    ) -> tuple[Array, PyTree]: ...


class GreedyFn(Protocol):
    """Greedy actions `[B, N]`, the recurrent state after them, role features."""

    def __call__(  # noqa: D102
        self, state: LearnerState, agents: AgentState, observation: Observation, /
    ) -> tuple[Array, PyTree, Feats]: ...


class ScoresFn(Protocol):
    """Action values or logits `[B, N, A]` of agents that have the given features."""

    def __call__(  # noqa: D102
        self,
        state: LearnerState,
        agents: AgentState,
        observation: Observation,
        feats: Feats,
        /,
    ) -> Array: ...


@dataclass(frozen=True)
class Pretraining:
    """A stage before training.

    Attributes:
        name: of the stage.
        updates: calls of ``update``.
        update: compiled by itself: who calls it shares one compilation a shape.
    """

    name: str
    updates: int
    update: UpdateFn


def as_it_is(state: LearnerState) -> LearnerState:
    """The parameters that are trained are those that play."""
    return state


@dataclass(frozen=True)
class Learner:
    """What the runner needs of an algorithm.

    Attributes:
        spec: sizes of the world that it was made for.
        init: the state of an experiment before its first update.
        carry: recurrent state of acting in so many worlds.
        act: explores.
        greedy: does not.
        scores: what ``greedy`` chooses by, with role features put in place of its own.
        epsilon: exploration rate as a function of env steps, unbatched.
        update: compiled by itself: who calls it, inside a larger program or from the
            host, shares one compilation a shape.
        pretraining: stages that come first, in order.
        experience: what ``update`` reads: a ``Batch`` of ``replay``, or what its own
            policy has just collected, as a ``fresh`` ``Trajectory`` or as the rows of
            a ``Batch``.
        ends: ``rows``: episodes of one world that may end inside a block; its steps
            after one more are not learnt from.
        minibatch: worlds of one gradient step, which must divide the worlds of a
            trajectory; ``None`` where any number will do.
        hypers: names of the hyper-parameters, which may be swept.
        start: makes the first state of an experiment another one, given its seed id.
        samples: whether ``act`` draws from a policy, and not around greedy actions.
        judged: the state with those parameters that ``greedy`` and ``scores`` read.
        role_metrics: what is told of roles besides what all learners have in common.
        whole: cannot learn from rows of replay that begin within an episode.
    """

    spec: EnvSpec
    init: Callable[[Key], LearnerState]
    carry: CarryFn
    act: ActFn
    greedy: GreedyFn
    scores: ScoresFn
    epsilon: Callable[[Array], Array]
    update: UpdateFn
    pretraining: tuple[Pretraining, ...]
    experience: Literal["replay", "fresh", "rows"] = "replay"
    ends: int = 0
    minibatch: int | None = None
    hypers: tuple[str, ...] = ()
    start: Callable[[Array, LearnerState], LearnerState] | None = None
    samples: bool = False
    judged: Callable[[LearnerState], LearnerState] = as_it_is
    role_metrics: RoleMetricsFn = nothing_more
    whole: bool = False


class Beginning(NamedTuple):
    """The state of an experiment before its first update.

    Attributes:
        init: ``key -> LearnerState``.
        shapes: of what losses may read: all but the optimisers, which are left out.
    """

    init: Callable[[Key], LearnerState]
    shapes: LearnerState

    @property
    def hypers(self) -> tuple[str, ...]:
        """Names of the hyper-parameters."""
        return tuple(sorted(self.shapes.hypers))


def make_init(
    *,
    params: InitFn,
    target_groups: tuple[str, ...],
    phases: tuple[Phase, ...],
    hypers: Mapping[str, float],
    of_method: Mapping[str, float],
    no_gradient: tuple[str, ...] = (),
    aux: InitAuxFn = no_aux,
) -> Beginning:
    """The beginning of a learner, once all names have been compared.

    Args:
        params: parameters by group. target_groups: those that have target copies.
        phases: all gradient steps. hypers: the learner's, initial values by name.
        of_method: those of the role method. no_gradient: groups that no phase changes.
        aux: what is kept besides.

    Raises:
        ConfigError: a group that nothing trains, that is trained and said not to be, or
            that there is not; a learning rate or weight that is no hyper-parameter; a
            hyper-parameter of method and learner both.
    """
    both = sorted(hypers.keys() & of_method.keys())
    if both:
        raise ConfigError(
            f"algo.role: the method's hypers name {', '.join(both)}, which the learner "
            "has; allowed: other names"
        )
    hypers = {**hypers, **of_method}
    key = jax.eval_shape(lambda: jax.random.key(0))
    groups = jax.eval_shape(params, key)
    _require("target group", dict.fromkeys(target_groups, "the target network"), groups)
    _require("group", dict.fromkeys(no_gradient, "no_gradient"), groups)
    trained: set[str] = set()
    for phase in with_followers(phases):
        trained |= set(phase.lr)
        named_by = f"phase '{phase.name}'"
        names = [*phase.lr.values(), *phase.scales.values()]
        wanted = [name for name in names if isinstance(name, str)]
        _require("parameter group", dict.fromkeys(phase.lr, named_by), groups)
        _require("hyper-parameter", dict.fromkeys(wanted, named_by), hypers)
    both = sorted(trained & set(no_gradient))
    if both:
        raise ConfigError(
            f"algo: no_gradient names the parameter group {', '.join(both)}, which is "
            "trained; leave it out of one of them"
        )
    idle = sorted(set(groups) - trained - set(no_gradient))
    if idle:
        raise ConfigError(
            f"algo: nothing trains the parameter group {', '.join(idle)}; name a rate "
            "for it in td_lr or in a phase's lr, or list it in no_gradient"
        )

    def init(key: Key) -> LearnerState:
        own = params(key)
        copied = {group: own[group] for group in target_groups}
        return LearnerState(
            params=own,
            target=jax.tree.map(jnp.copy, copied),
            opt={p.name: p.optimiser.init({g: own[g] for g in p.lr}) for p in phases},
            aux=aux(named(key, "aux"), own),
            hypers={n: jnp.asarray(v, jnp.float32) for n, v in hypers.items()},
        )

    shapes = LearnerState(
        params=groups,
        target={group: groups[group] for group in target_groups},
        opt={},
        aux=jax.eval_shape(aux, key, groups),
        hypers={name: shaped((), jnp.float32) for name in hypers},
    )
    return Beginning(init, shapes)


def with_followers(phases: tuple[Phase, ...]) -> list[Phase]:
    """All phases, and those that follow them on the same batch."""
    return [each for phase in phases for each in (phase, *phase.also)]


def _require(kind: str, named_by: Mapping[str, str], known: Mapping) -> None:
    """Refuses names that are not there."""
    for name, where in named_by.items():
        if name not in known:
            raise ConfigError(
                f"algo: {where} names the {kind} '{name}', which nothing makes; "
                + nearest(name, known)
            )
