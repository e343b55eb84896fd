"""What is seen of a team's roles when it is judged, and what a method tells of it."""

from typing import NamedTuple, Protocol

from rolemarl_jax.ops import role_stats
from rolemarl_jax.roles.parts.phase import Metrics, Params
from rolemarl_jax.types import Array


class RoleView(NamedTuple):
    """T steps of W greedy episodes, from their beginnings on."""

    role: Array  # [T, W, N, Z]
    state: Array  # [T, W, S]
    reset: Array  # [T, W] bool, the first step
    kind: Array  # [T, W, N] int32, type of the agent
    playing: Array  # [T, W] bool, the episode has not ended
    there: Array  # [T, W, N] bool, and the agent lives


class RoleMetricsFn(Protocol):
    """What is told of a view besides what all role methods have in common."""

    def __call__(self, params: Params, view: RoleView, /) -> Metrics: ...  # noqa: D102


def attended(weight: Array, view: RoleView) -> Metrics:
    """How attention is spread over the roles; ``weight`` is `[T, W, H, N, N]`."""
    found = role_stats.attention(weight, view.playing)
    return {f"attention_{name}": value for name, value in found.items()}


def nothing_more(params: Params, view: RoleView) -> Metrics:
    """What all role methods have in common is all."""
    del params, view
    return {}
