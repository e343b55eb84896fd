"""Plays episodes of stored learners, and makes of them what a page shows."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np

import envs
from envs.picture import palette
from envs.picture.film import with_legend
from envs.picture.palette import Colour
from experiments.shows.choose import Choice, chosen
from rolemarl_jax.config import ConfigError, build
from rolemarl_jax.disk import rundir
from rolemarl_jax.learners import make_learner
from rolemarl_jax.report.page.episode import Episode, Panel, Roles, Show, Space
from rolemarl_jax.report.page.spaces import matched, spaces
from rolemarl_jax.run.insights import Finding
from rolemarl_jax.run.shows import Shown, make_show
from rolemarl_jax.run.stored import load_states
from rolemarl_jax.run_config import RunConfig

NOTE = (
    "Greedy episodes of the newest checkpoint. Space plays and pauses, the arrow keys "
    "step; point at an agent in any picture to follow it."
)
NO_ROLES = " This algorithm has no roles: agents have a colour each, or their team's."


class Acts(NamedTuple):
    """Episodes of one learner.

    Attributes:
        choice: which learner.
        module: of the world.
        world: its ``Config``.
        shown: the episodes.
        labels: clusters ``[T, B, N]`` that keep their numbers; ``None`` without roles.
    """

    choice: Choice
    module: ModuleType
    world: Any
    shown: Shown
    labels: np.ndarray | None

    def worlds(self, b: int) -> Any:
        """States of one episode to its end, leaves ``[L + 1, ...]``."""
        steps = self.shown.length[b] + 1
        return jax.tree.map(lambda leaf: leaf[:steps, b], self.shown.worlds)

    def film(self, b: int, size: int) -> list[np.ndarray]:
        """Pictures of one episode with a legend under each, ``size`` pixels wide."""
        steps, roles = self.shown.length[b] + 1, None
        if self.labels is not None:
            # The last world has no decision of its own.
            given = self.labels[: steps - 1, b]
            roles = np.concatenate([given, given[-1:]])
        pictures = self.module.film(self.world, self.worlds(b), roles, size)
        return with_legend(pictures, self._legend())

    def _legend(self) -> list[tuple[str, Colour]]:
        """Roles, or the agents where they have none; enemies where there are any."""
        n, world = self.shown.action.shape[2], self.sketched(0)
        enemies = len(world["units"]["team"]) > n
        rival = [("enemy", palette.ENEMY)] if enemies else []
        if self.labels is not None:
            count = int(self.labels.max()) + 1
            own = [(f"role {k + 1}", palette.role(k)) for k in range(count)]
        elif enemies:
            own = [("ally", palette.role(0))]
        else:
            own = [(f"agent {i}", palette.role(i)) for i in range(n)]
        return [*own, *rival]

    def sketched(self, b: int) -> dict[str, Any]:
        """One episode as plain data."""
        return self.module.sketch(self.world, self.worlds(b))

    def title(self, b: int) -> str:
        """What an episode is called."""
        length, total = self.shown.length[b], self.shown.reward[:, b].sum()
        won = ", won" if self.shown.won[b] else ""
        return (
            f"{self.choice.title}, episode {b + 1}: return {total:.2f}, {length} "
            f"steps{won}"
        )


def show(run_dir: Path, seed: int | None, episodes: int) -> Show:
    """What a page shows of a run; where it can show nothing, a sentence that says why.

    Args:
        run_dir: of the run. seed: whose episodes, ``None`` for best, median and worst.
        episodes: of each seed.
    """
    try:
        acts = list(played(run_dir, seed, episodes))
    except ConfigError as error:
        return Show((), f"No episodes are shown. {error}")
    found = tuple(episode for one in acts for episode in _episodes(one))
    plain = all(episode.roles is None for episode in found)
    return Show(found, NOTE + (NO_ROLES if plain else ""))


def played(run_dir: Path, seed: int | None, episodes: int) -> Iterator[Acts]:
    """Episodes of the chosen learners of a run.

    Raises:
        ConfigError: a world that cannot be replayed or drawn, no checkpoint, or a
            configuration that this version cannot make.
    """
    cfg = rundir.load_config(run_dir)
    module = _module(cfg)
    for part in rundir.folders(run_dir):
        if not any(rundir.learners(part).glob("*")):
            raise ConfigError(f"'{part}' has no checkpoint.")
    env, world = envs.make_compiled(cfg.env), build(module.Config, cfg.env, "env")
    learner = make_learner(cfg.algo, env.spec)
    play = make_show(cfg.algo, env, learner, episodes)
    stored: dict[str, Any] = {}
    for choice in chosen(run_dir, seed):
        where = choice.cfg.run_dir
        if where not in stored:
            stored[where] = load_states(choice.cfg, learner).state["learner"]
        index = choice.index
        state = jax.tree.map(lambda leaf, i=index: leaf[i], stored[where])
        shown = play(state, choice.seed)
        yield Acts(choice, module, world, shown, _labels(shown))


def _module(cfg: RunConfig) -> ModuleType:
    """The module of a world that can be played and drawn here.

    Raises:
        ConfigError: it cannot.
    """
    module, name = envs.module_of(cfg.env), cfg.env["name"]
    if envs.is_bridged(module):
        raise ConfigError(
            f"env={name} plays in processes of its own and cannot be replayed here."
        )
    if not (hasattr(module, "sketch") and hasattr(module, "film")):
        raise ConfigError(
            f"env={name} cannot be drawn: its module has no sketch and film."
        )
    return module


def _lasting(shown: Shown) -> np.ndarray:
    """Steps ``[T, B]`` that were played."""
    return np.arange(len(shown.reward))[:, None] < shown.length


def _labels(shown: Shown) -> np.ndarray | None:
    """Clusters under numbers that stay, through all episodes of a learner."""
    if shown.clusters is None:
        return None
    points, labels = shown.clusters
    going = _lasting(shown).T
    kept = np.zeros(labels.shape, int)
    # Episodes one after another, without the steps after their ends.
    parts = (np.asarray(x) for x in (labels, points, shown.alive))
    in_order = [x.swapaxes(0, 1)[going] for x in parts]
    kept.swapaxes(0, 1)[going] = matched(*in_order)
    return kept


def _episodes(acts: Acts) -> Iterator[Episode]:
    """What the page shows of one learner."""
    shown = acts.shown
    views = _spaces(shown)
    for b, length in enumerate(shown.length.tolist()):
        roles = None
        if acts.labels is not None:
            labels = acts.labels[:length, b]
            at = (view._replace(at=view.at[b][:length]) for view in views)
            roles = Roles(tuple(at), labels, int(acts.labels.max()) + 1)
        reward = Panel(
            "Reward", "Of the team.", ("team",), shown.reward[:length, b, None]
        )
        found = (_panel(finding, b, length) for finding in shown.findings)
        yield Episode(
            title=acts.title(b),
            sketch=acts.sketched(b),
            action=shown.action[:length, b],
            roles=roles,
            panels=(reward, *found),
        )


def _spaces(shown: Shown) -> list[Space]:
    """Views of all roles of a learner, ``[B, T, N, 2]``: its episodes share axes."""
    if "role" not in shown.feats:
        return []
    going = _lasting(shown).T
    role = np.asarray(shown.feats["role"]).swapaxes(0, 1)
    alive = shown.alive.swapaxes(0, 1) & going[..., None]
    flat = spaces(role.reshape(-1, *role.shape[2:]), alive.reshape(-1, alive.shape[2]))
    return [view._replace(at=view.at.reshape(*alive.shape, 2)) for view in flat]


def _panel(finding: Finding, b: int, length: int) -> Panel:
    """What a method computed in one episode."""
    values = np.asarray(finding.values)[:length, b]
    count, part = values.shape[1], finding.part
    several = [f"{part} {i + (part == 'head')}" for i in range(count)]
    names = several if part in ("head", "agent") else [part] * count
    return Panel(finding.title, finding.note, tuple(names), values)
