"""PPO's passes over a block, in minibatches of whole sequences or all at once."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from rolemarl_jax.config import ConfigError
from rolemarl_jax.learners.parts import phases as core
from rolemarl_jax.learners.parts.ppo_block import (
    Old,
    Outlook,
    Sequences,
    TargetConfig,
    look,
    prepare,
    sequences,
    take,
)
from rolemarl_jax.rng import named
from rolemarl_jax.roles.parts.method import Metrics, Params, Phase
from rolemarl_jax.roles.parts.policy_method import PolicyMethod
from rolemarl_jax.roles.parts.shaping import Shaping
from rolemarl_jax.types import Array, Fresh, Key, LearnerState, PyTree

Epochs = Callable[[LearnerState, Fresh, Key], tuple[LearnerState, Metrics]]


class EpochsConfig(TargetConfig, Protocol):
    """Keys of ``learners.mappo.Config`` that shape the passes."""

    @property
    def epochs(self) -> int: ...  # noqa: D102
    @property
    def minibatch(self) -> int | None: ...  # noqa: D102


class Part(NamedTuple):
    """What one gradient step reads.

    Attributes:
        seq, old: sequences of a block. look: ``params -> Outlook`` on them.
    """

    seq: Sequences
    old: Old
    look: Callable[[Params], Outlook]

    @property
    def mask(self) -> Array:
        """Weight of each step, `[T, B]`."""
        return self.seq.mask


class _Setup(NamedTuple):
    """What passes are made of."""

    cfg: EpochsConfig
    method: PolicyMethod
    shaping: Shaping
    ppo: Phase


def make_epochs(
    cfg: EpochsConfig, method: PolicyMethod, shaping: Shaping, ppo: Phase
) -> Epochs:
    """``(state, block, key) -> (state, metrics)``, metrics averaged over the steps."""
    setup = _Setup(cfg, method, shaping, ppo)

    def epochs(
        state: LearnerState, block: Fresh, key: Key
    ) -> tuple[LearnerState, Metrics]:
        worlds = block.mask.shape[1]
        size = cfg.minibatch or worlds
        if worlds % size:
            raise ConfigError(
                f"algo.minibatch: got {size}; allowed: divisors of "
                f"train.worlds={worlds}"
            )
        passes = _whole if size == worlds else _in_minibatches
        state, metrics = passes(setup, state, block, key)
        return state, {name: x.mean() for name, x in metrics.items()}

    return epochs


def _in_minibatches(
    setup: _Setup, state: LearnerState, block: Fresh, key: Key
) -> tuple[LearnerState, Metrics]:
    """Steps on minibatches, shuffled anew in each epoch."""
    cfg, method, shaping, ppo = setup
    seq = sequences(block)
    seen = look(method, state.params, seq)
    old, aux = prepare(cfg, method, shaping, state, block, seen)

    def step(state: LearnerState, pick: Array) -> tuple[LearnerState, Metrics]:
        mine, known = take(seq, old, pick)
        part = Part(mine, known, lambda params: look(method, params, mine)[0])
        return core.run_phase(ppo, state, part, jnp.ones(()), key)

    def shuffled(epoch: Array) -> Array:
        order = jax.random.permutation(named(key, "epoch", epoch), seq.mask.shape[1])
        return order.reshape(-1, cfg.minibatch)

    picks = jax.vmap(shuffled)(jnp.arange(cfg.epochs)).reshape(-1, cfg.minibatch)
    return jax.lax.scan(step, state._replace(aux=aux), picks)


def _whole(
    setup: _Setup, state: LearnerState, block: Fresh, key: Key
) -> tuple[LearnerState, Metrics]:
    """One step an epoch. Its forward pass in the first is that of the old policy."""
    cfg, method, shaping, ppo = setup
    seq = sequences(block)

    def epoch(
        carry: tuple[LearnerState, Old], i: Array
    ) -> tuple[tuple[LearnerState, Old], Metrics]:
        state, old = carry
        own = {group: state.params[group] for group in ppo.lr}

        def outlook(own: Params) -> tuple[Outlook, Any]:
            return look(method, {**state.params, **own}, seq)

        seen, hidden, again = _evaluated(outlook, own)
        old, aux = jax.lax.cond(
            i == 0,
            lambda: prepare(cfg, method, shaping, state, block, (seen, hidden)),
            lambda: (old, state.aux),
        )
        part = Part(seq, old, lambda params: again({g: params[g] for g in own}))
        state = state._replace(aux=aux)
        state, metrics = core.run_phase(ppo, state, part, jnp.ones(()), key)
        return (state, old), metrics

    nothing = Old(*jnp.zeros((len(Old._fields), *block.action.shape)))
    (state, _), metrics = jax.lax.scan(epoch, (state, nothing), jnp.arange(cfg.epochs))
    return state, metrics


def _evaluated(
    function: Callable[[Any], tuple[PyTree, PyTree]], x: PyTree
) -> tuple[PyTree, PyTree, Callable[[Any], PyTree]]:
    """``(result, extra) = function(x)``, and ``again(x)`` to differentiate ``result``.

    ``again`` is for the same ``x`` only: it computes nothing, and its gradient is the
    pullback of the evaluation made here.
    """
    result, back, extra = jax.vjp(function, x, has_aux=True)

    @jax.custom_vjp
    def again(x: Any) -> PyTree:
        del x
        return result

    again.defvjp(lambda _: (result, None), lambda _, grad: back(grad))
    return result, extra, again
