"""Judged by the mean of the weights of late, which moves less than the weights do.

A network without a target network is another one after each block, and its greedy
policy jumps with it. The mean over blocks (Polyak and Juditsky 1992) is the policy that
one would keep; exploration and learning go on with the weights themselves.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from rolemarl_jax.ops import optim
from rolemarl_jax.roles.parts.method import InitAuxFn
from rolemarl_jax.types import Key, LearnerState, PyTree

R = TypeVar("R")
AVERAGE = "average"  # in ``aux``, and the name of its step among ``hypers``


def with_average(aux: InitAuxFn, groups: tuple[str, ...]) -> InitAuxFn:
    """``aux`` and the first mean of some parameter groups, which is the parameters."""

    def init(key: Key, params: PyTree) -> dict[str, PyTree]:
        own = {group: params[group] for group in groups}
        return {**aux(key, params), AVERAGE: jax.tree.map(jnp.copy, own)}

    return init


def moved(state: LearnerState) -> LearnerState:
    """The mean a step nearer to the parameters."""
    mean = state.aux[AVERAGE]
    online = {group: state.params[group] for group in mean}
    mean = optim.soft_update(mean, online, state.hypers[AVERAGE])
    return state._replace(aux={**state.aux, AVERAGE: mean})


def judged(state: LearnerState) -> LearnerState:
    """The mean in place of the parameters."""
    return state._replace(params={**state.params, **state.aux[AVERAGE]})


def of_mean(function: Callable[..., R]) -> Callable[..., R]:
    """A function of a learner's state and more, which reads the mean instead."""

    def read(state: LearnerState, *args: PyTree) -> R:
        return function(judged(state), *args)

    return read
