"""Studies: lists of runs that belong into one table, and where each of them stands."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import yaml

from experiments.door import compose, resume
from experiments.studies import kept
from rolemarl_jax.config import ConfigError, Count, Positive, build, config, nearest
from rolemarl_jax.disk import rundir
from rolemarl_jax.report import summary

FOLDER = compose.CONFIGS / "study"
SMOKE = "smoke"
SCALES = ("paper", SMOKE)
Stage = Literal["missing", "begun", "finished", "broken"]


@config
class World:
    """One world of a study.

    Attributes:
        env: file of ``configs/env``.
        total_steps: env steps a seed.
        overrides: keys of all its runs, ``key=value``.
    """

    env: str
    total_steps: Positive
    overrides: tuple[str, ...]


@config
class Algorithm:
    """One algorithm of a study.

    Attributes:
        algo: file of ``configs/algo``.
        overrides: keys of all its runs, ``key=value``.
        smoke: keys that ``scale=smoke`` adds.
    """

    algo: str
    overrides: tuple[str, ...]
    smoke: tuple[str, ...]


@config
class Study:
    """Every algorithm in every world (``configs/study``).

    Attributes:
        title: heading of its section.
        note: text of its section.
        measure: what its tables show.
        also: columns of evaluations that a second table shows, empty for none.
        seeds: of each run.
        overrides: keys of all runs; those of ``worlds`` and ``algos`` come later.
        worlds: where each algorithm plays.
        algos: what plays in each world.
        smoke: keys of all runs that come last, at ``scale=smoke`` only.
    """

    title: str
    note: str
    measure: Literal["win_rate", "return"]
    also: tuple[str, ...]
    seeds: Count
    overrides: tuple[str, ...]
    worlds: tuple[World, ...]
    algos: tuple[Algorithm, ...]
    smoke: tuple[str, ...]


class Run(NamedTuple):
    """One run of a study.

    Attributes:
        world: its name, by which tables are told apart.
        algo: file of ``configs/algo``.
        folder: its run directory.
        kept: where its results stay.
        arguments: of ``experiments.run``.
    """

    world: str
    algo: str
    folder: Path
    kept: Path
    arguments: tuple[str, ...]

    @property
    def results(self) -> Path:
        """Where its summary and curve are to be read."""
        done = (self.folder / rundir.SUMMARY).is_file()
        return self.folder if done or not self.kept.is_dir() else self.kept


class Piece(NamedTuple):
    """A study that is to be made, as far as somebody wants it.

    Attributes:
        name: of its file.
        study: its text and measure.
        planned: all of its runs.
        docs: folder of its ``results.md``.
    """

    name: str
    study: Study
    planned: list[Run]
    docs: Path


@dataclass(frozen=True)
class Standing:
    """Where a run stands.

    Attributes:
        stage: ``missing``, ``begun``, ``finished``, or ``broken`` where files of it are
            damaged.
        arguments: of ``experiments.run``, that it takes to go on.
        why: what is damaged.
    """

    stage: Stage
    arguments: tuple[str, ...]
    why: str = ""


def names() -> list[str]:
    """Of all studies."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load(name: str) -> Study:
    """The study of that name.

    Raises:
        ConfigError: unknown name, unknown, missing or ill-typed key.
    """
    if name not in names():
        raise ConfigError(f"study: got '{name}'; {nearest(name, names())}")
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf8")
    return build(Study, yaml.safe_load(text), f"study.{name}")


def runs(study: Study, folder: Path, kept: Path, scale: str) -> list[Run]:
    """All runs of a study, world by world, below ``folder``; results below ``kept``.

    Raises:
        ConfigError: an unknown scale, or a run that cannot be composed.
    """
    if scale not in SCALES:
        raise ConfigError(f"scale: got '{scale}'; {nearest(scale, SCALES)}")
    return [
        _run(study, world, algo, (folder, kept), scale)
        for world in study.worlds
        for algo in study.algos
    ]


def _run(
    study: Study, world: World, algo: Algorithm, homes: tuple[Path, Path], scale: str
) -> Run:
    """One run; of several values for a key the last one holds."""
    last = (*study.smoke, *algo.smoke) if scale == SMOKE else ()
    every = (
        *(f"algo={algo.algo}", f"env={world.env}", f"seeds={study.seeds}"),
        f"total_steps={world.total_steps}",
        *(*study.overrides, *world.overrides, *algo.overrides, *last),
    )
    chosen = {argument.partition("=")[0]: argument for argument in every}
    arguments = list(chosen.values())
    where = _name(world)
    path, kept = (home / where / algo.algo for home in homes)
    return Run(where, algo.algo, path, kept, (*arguments, f"run_dir={path}"))


@lru_cache
def _name(world: World) -> str:
    """By which its tables and folders are told from those of other worlds.

    Two files of ``configs/env`` may describe worlds of one name.
    """
    arguments = (f"env={world.env}", *world.overrides)
    env = compose.composed(arguments).values["env"]
    name = "-".join(str(env[key]) for key in ("name", "map") if key in env)
    return name if name.startswith(world.env) else world.env


def standing(run: Run) -> Standing:
    """Where a run stands: nothing there, to be resumed, finished, or damaged.

    Raises:
        ConfigError: its folder holds a run of another configuration.
    """
    begun = (run.folder / rundir.CONFIG).is_file()
    try:
        made = not begun and kept.holds(run.kept, run.arguments)
        if begun:
            rundir.load_config(run.folder)
    except ConfigError as error:
        return Standing("broken", run.arguments, str(error))
    if not begun:
        return Standing("finished" if made else "missing", run.arguments)
    resumed = (*run.arguments, "resume=true")
    cfg = resume.resolve(compose.composed(resumed))
    if summary.is_whole(summary.known(run.folder), cfg):
        return Standing("finished", resumed)
    return Standing("begun", resumed)
