"""PPO's passes over a block, in minibatches of whole sequences or all at once."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp

from rolemarl_jax.learners.parts.learner import UpdateOut
from rolemarl_jax.learners.parts.minibatches import shuffled
from rolemarl_jax.learners.parts.phases import Pullback, run_phase
from rolemarl_jax.learners.parts.ppo_block import (
    Old,
    Outlook,
    Sequences,
    ValueNormConfig,
    forward,
    prepare,
    sequences,
    take,
)
from rolemarl_jax.roles.parts.method import Hidden, PolicyMethod
from rolemarl_jax.roles.parts.phase import Metrics, Params, Phase
from rolemarl_jax.roles.parts.shaping import Shaping
from rolemarl_jax.types import Array, Key, LearnerState, Trajectory

Epochs = Callable[[LearnerState, Trajectory, Key], UpdateOut]


class EpochsConfig(ValueNormConfig, Protocol):
    """Keys of ``learners.mappo.Config`` that shape the passes."""

    @property
    def epochs(self) -> int: ...  # noqa: D102
    @property
    def minibatch(self) -> int | None: ...  # noqa: D102


class Part(NamedTuple):
    """What the loss of one gradient step reads besides the networks' ``Outlook``."""

    seq: Sequences
    old: Old

    @property
    def mask(self) -> Array:
        """Weight of each step, `[T, B]`."""
        return self.seq.mask


class _Setup(NamedTuple):
    """What passes are made of; the loss of ``ppo`` reads an ``Outlook``."""

    cfg: EpochsConfig
    method: PolicyMethod
    shaping: Shaping
    ppo: Phase


def make_epochs(
    cfg: EpochsConfig, method: PolicyMethod, shaping: Shaping, ppo: Phase
) -> Epochs:
    """``(state, block, key) -> UpdateOut``, metrics averaged over the steps."""
    setup = _Setup(cfg, method, shaping, ppo)

    def epochs(state: LearnerState, block: Trajectory, key: Key) -> UpdateOut:
        worlds = block.mask.shape[1]
        whole = cfg.minibatch in (None, worlds)
        passes = _whole if whole else _in_minibatches
        state, (metrics, finite) = passes(setup, state, block, key)
        means = {name: x.mean() for name, x in metrics.items()}
        return UpdateOut(state, means, finite.all())

    return epochs


def _looked(
    setup: _Setup, state: LearnerState, seq: Sequences
) -> tuple[Pullback, Hidden]:
    """Forward pass of the present networks, ready to be differentiated."""
    own = {group: state.params[group] for group in setup.ppo.lr}

    def outlook(own: Params) -> tuple[Outlook, Hidden]:
        return forward(setup.method, {**state.params, **own}, seq)

    value, back, hidden = jax.vjp(outlook, own, has_aux=True)
    return Pullback(value, back), hidden


def _in_minibatches(
    setup: _Setup, state: LearnerState, block: Trajectory, key: Key
) -> tuple[LearnerState, tuple[Metrics, Array]]:
    """Steps on minibatches, shuffled anew in each epoch."""
    cfg, method, shaping, ppo = setup
    seq = sequences(block)
    before = forward(method, state.params, seq)
    old, aux = prepare(cfg, method, shaping, state, block, before)

    def step(
        state: LearnerState, pick: Array
    ) -> tuple[LearnerState, tuple[Metrics, Array]]:
        part = Part(*take(seq, old, pick))
        looked, _ = _looked(setup, state, part.seq)
        out = run_phase(ppo, state, part, jnp.ones(()), key, looked)
        return out.state, (out.metrics, out.finite)

    worlds = seq.mask.shape[1]
    picks = shuffled(worlds, cfg.minibatch or worlds, cfg.epochs, key)
    return jax.lax.scan(step, state._replace(aux=aux), picks)


def _whole(
    setup: _Setup, state: LearnerState, block: Trajectory, key: Key
) -> tuple[LearnerState, tuple[Metrics, Array]]:
    """One step an epoch. Its forward pass in the first is that of the old policy."""
    cfg, method, shaping, ppo = setup
    seq = sequences(block)

    def epoch(
        carry: tuple[LearnerState, Old], i: Array
    ) -> tuple[tuple[LearnerState, Old], tuple[Metrics, Array]]:
        state, old = carry
        looked, hidden = _looked(setup, state, seq)
        old, aux = jax.lax.cond(
            i == 0,
            lambda: prepare(cfg, method, shaping, state, block, (looked.value, hidden)),
            lambda: (old, state.aux),
        )
        state = state._replace(aux=aux)
        out = run_phase(ppo, state, Part(seq, old), jnp.ones(()), key, looked)
        return (out.state, old), (out.metrics, out.finite)

    nothing = Old(*jnp.zeros((len(Old._fields), *block.action.shape)))
    (state, _), reported = jax.lax.scan(epoch, (state, nothing), jnp.arange(cfg.epochs))
    return state, reported
