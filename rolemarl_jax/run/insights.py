"""What methods compute beside actions, in episodes that were played.

Each finder looks whether the learner has what it needs, by its parameters and records
and not by the algorithm's name, and finds nothing otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rolemarl_jax.config import build
from rolemarl_jax.nets.mixers import make_mixer
from rolemarl_jax.ops.info import shifted
from rolemarl_jax.roles import make_method, roma
from rolemarl_jax.roles.parts.classifier import Classifier, make_classifier
from rolemarl_jax.roles.parts.method import Feats, no_intrinsic
from rolemarl_jax.roles.parts.phase import Context
from rolemarl_jax.types import Array, Batch, EnvSpec, LearnerState

Algo = Mapping[str, Any]


class Played(NamedTuple):
    """Episodes of B worlds from their first step, and who played them."""

    state: LearnerState
    batch: Batch  # [T, B, ...]
    feats: Feats  # [T, B, N, ...]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["values"],
    meta_fields=["title", "note", "part"],
)
@dataclass(frozen=True)
class Finding:
    """One thing that was computed at every step.

    Attributes:
        title: what it is.
        note: how it is to be read.
        part: what its axis H counts: heads, agents, the team; empty for one matrix.
        values: `[T, B, H, N, N]` matrices or `[T, B, H]` lines.
    """

    title: str
    note: str
    part: str
    values: Array


def find(algo: Algo, spec: EnvSpec, played: Played) -> list[Finding]:
    """All that there is of a learner made from ``algo``."""
    found = (finder(algo, spec, played) for finder in FINDERS)
    return [finding for findings in found for finding in findings]


def _attention(algo: Algo, spec: EnvSpec, played: Played) -> list[Finding]:
    """Weights of the mixer's attention over roles."""
    if "mixer" not in algo:
        return []
    attend = make_mixer(algo["mixer"], spec).attention
    if attend is None:
        return []
    state, reset = played.batch.state[:-1], played.batch.reset[:-1]
    note = "Row: the mixer's query of an agent. Column: the agent whose role it reads."
    values = attend(played.state.params, state, reset, played.feats["role"])
    return [Finding("Attention of the mixer", note, "head", values)]


def _dissimilarity(algo: Algo, spec: EnvSpec, played: Played) -> list[Finding]:
    """ROMA's model of how different two agents' trajectories are."""
    if "dissimilarity" not in played.state.params:
        return []
    net = roma.make_setup(build(roma.Config, algo["role"], "algo.role"), spec).nets
    role, n = played.feats["role"], spec.n_agents
    others = shifted(role)
    mine = jnp.broadcast_to(role[..., None, :], others.shape)
    pairs = jnp.concatenate([mine, others], axis=-1)
    params = played.state.params["dissimilarity"]
    away = jnp.abs(net.dissimilarity.apply(params, pairs))[..., 0]
    # `shifted` has agent i - s - 1 at [i, s].
    rows = jnp.arange(n)[:, None]
    matrix = away[..., rows, (rows - jnp.arange(n) - 1) % n]
    note = "How different the model takes two agents' trajectories to be, by roles."
    return [Finding("Dissimilarity", note, "", matrix[:, :, None])]


def _identity(algo: Algo, spec: EnvSpec, played: Played) -> list[Finding]:
    """EOI's classifier: whom it takes each agent for, and what that pays."""
    if "classifier" not in played.state.params:
        return []
    net, params = _classifier(algo, spec), played.state.params
    obs = played.batch.obs[:-1]
    matrix = jnp.exp(net.log_p(params, obs))[:, :, None]
    confusion = "Row: the agent. Column: whom the classifier takes it for by its view."
    reward = "P(i | o_i) - 1/N of each agent, before its weight."
    return [
        Finding("Identity", confusion, "", matrix),
        Finding("Intrinsic reward", reward, "agent", net.reward(params, obs)),
    ]


def _classifier(algo: Algo, spec: EnvSpec) -> Classifier:
    """EOI's, be it a role method or a shaped reward."""
    role, shaping = algo.get("role", {}), algo.get("shaping", {})
    widths = role["classifier"] if "classifier" in role else shaping["widths"]
    return make_classifier(tuple(widths), spec)


def _of_the_team(algo: Algo, spec: EnvSpec, played: Played) -> list[Finding]:
    """A value-based method's own reward, which is the team's (R3DM)."""
    if "mixer" not in algo:
        return []
    method = make_method(algo["role"], spec)
    if method.intrinsic is no_intrinsic:
        return []
    params, x = played.state.params, played.batch.inputs
    carry = method.carry(x.reset.shape[1])
    feats, _ = method.encode(params, x, carry, None)
    out, _ = method.q_values(params, x, feats, carry)
    context = Context(played.state, played.batch, jax.random.key(0))
    reward = jnp.asarray(method.intrinsic(context, out).reward)
    note = "A mean over agents, as it is added to the team's reward."
    return [Finding("Intrinsic reward", note, "team", reward[..., None])]


FINDERS = (_attention, _dissimilarity, _identity, _of_the_team)
