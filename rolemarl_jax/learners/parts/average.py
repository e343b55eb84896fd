"""Judged by the mean of the weights of late, which moves less than the weights do.

A network without a target network is another one after each block, and its greedy
policy jumps with it. The mean over blocks (Polyak and Juditsky 1992) is the policy that
one would keep; exploration and learning go on with the weights themselves.
"""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp

from rolemarl_jax.learners.parts.learner import Experience, Pretraining, UpdateOut
from rolemarl_jax.ops import optim
from rolemarl_jax.roles.parts.method import InitAuxFn
from rolemarl_jax.types import Array, Key, LearnerState, PyTree

R = TypeVar("R")
AVERAGE = "average"  # in ``aux``, and the name of its step among ``hypers``


def with_average(aux: InitAuxFn, groups: tuple[str, ...]) -> InitAuxFn:
    """``aux`` and the first mean of some parameter groups, which is the parameters."""

    def init(key: Key, params: PyTree) -> dict[str, PyTree]:
        own = {group: params[group] for group in groups}
        return {**aux(key, params), AVERAGE: jax.tree.map(jnp.copy, own)}

    return init


def begun(state: LearnerState) -> LearnerState:
    """The mean as a copy of the parameters, where the state keeps one."""
    if AVERAGE not in state.aux:
        return state
    own = {group: state.params[group] for group in state.aux[AVERAGE]}
    return state._replace(aux={**state.aux, AVERAGE: jax.tree.map(jnp.copy, own)})


def pretrained(stage: Pretraining) -> Pretraining:
    """A stage before training, after each update of which the mean begins anew.

    What is pre-trained is not judged by what it was before, nor does training set out
    with a mean of it.
    """

    def update(state: LearnerState, batch: Experience, t: Array, key: Key) -> UpdateOut:
        out = stage.update(state, batch, t, key)
        return out._replace(state=begun(out.state))

    return dataclasses.replace(stage, update=jax.jit(update))


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
