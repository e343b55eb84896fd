"""What a page shows of one episode: plain NumPy, whatever world and method it was."""

from typing import Any, NamedTuple

import numpy as np


class Space(NamedTuple):
    """One view of the roles of L steps.

    Attributes:
        name: how roles became points.
        axes: words at the two axes.
        at: points ``[L, N, 2]``, NaN where an agent is dead.
        ends: low and high end of either axis, of all episodes that share it.
    """

    name: str
    axes: tuple[str, str]
    at: np.ndarray
    ends: tuple[tuple[float, float], tuple[float, float]]


class Roles(NamedTuple):
    """Roles of L steps.

    Attributes:
        spaces: views of them.
        labels: clusters ``[L, N]``, the same number for the same cluster all along.
        clusters: how many there may be.
    """

    spaces: tuple[Space, ...]
    labels: np.ndarray
    clusters: int


class Panel(NamedTuple):
    """Something that a method computes, step by step.

    Attributes:
        title: what it is.
        note: how it is to be read, in a sentence.
        names: of the matrices or lines.
        values: matrices ``[L, H, N, N]`` or lines ``[L, H]``, by rank.
    """

    title: str
    note: str
    names: tuple[str, ...]
    values: np.ndarray


class Episode(NamedTuple):
    """One episode of L steps and N agents.

    Attributes:
        title: which one.
        sketch: the L + 1 worlds, as docs/environments.md describes sketches.
        action: ``[L, N]``.
        roles: ``None`` for methods without.
        panels: the team's reward, and what else the method computes.
    """

    title: str
    sketch: dict[str, Any]
    action: np.ndarray
    roles: Roles | None
    panels: tuple[Panel, ...]


class Show(NamedTuple):
    """What a page shows of episodes.

    Attributes:
        episodes: in the order of the page.
        note: a sentence about them, or what stands in their place.
    """

    episodes: tuple[Episode, ...]
    note: str
