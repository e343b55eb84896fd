"""Which learners of a run are shown."""

import math
from pathlib import Path
from typing import NamedTuple

from rolemarl_jax import members
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import rundir
from rolemarl_jax.report import summary
from rolemarl_jax.report.summary import SeedScores
from rolemarl_jax.run_config import RunConfig


class Choice(NamedTuple):
    """One learner of a run.

    Attributes:
        cfg: of the run, or of the chunk that has it.
        index: among the members of that.
        seed: its id.
        title: what it is called.
    """

    cfg: RunConfig
    index: int
    seed: int
    title: str


def check_seed(run_dir: Path, seed: int | None) -> None:
    """Refuses a seed that a run does not have.

    Raises:
        ConfigError: names those that it has; or as ``rundir.load_config``.
    """
    if seed is None:
        return
    cfg = rundir.load_config(run_dir)
    last = cfg.seed + cfg.seeds - 1
    if type(seed) is not int or not cfg.seed <= seed <= last:
        raise ConfigError(
            f"seed: got {seed!r}; allowed: {cfg.seed} to {last}, the ids of this "
            "run's seeds"
        )


def chosen(run_dir: Path, seed: int | None) -> list[Choice]:
    """Best, median and worst seed by their last evaluations; or one that was named.

    Where hyper-parameters are swept, of the best combination if it is known.

    Raises:
        ConfigError: as ``rundir.load_config``.
    """
    every = [
        Choice(cfg, index, member.seed, _title(member))
        for cfg in map(rundir.load_config, rundir.folders(run_dir))
        for index, member in enumerate(members.members(cfg))
    ]
    found, scores = summary.known(run_dir), {}
    if found is not None and found.ranking:
        best = found.ranking[0]
        wanted, scores = members.text(best.hypers), best.per_seed
        its = [one for one in every if one.title == f"seed {one.seed} {wanted}"]
        every = its or every
    elif found is not None:
        scores = found.per_seed
    if seed is not None:
        return [next(one for one in every if one.seed == seed)]
    by_seed = {one.seed: one for one in every}
    return [
        by_seed[seed]._replace(title=f"{by_seed[seed].title} ({word})")
        if word
        else by_seed[seed]
        for word, seed in _ranked(scores)
        if seed in by_seed
    ] or every[:1]


def _title(member: members.Member) -> str:
    return " ".join([f"seed {member.seed}", members.text(member.hypers)]).strip()


def _ranked(given: dict[str, SeedScores]) -> list[tuple[str, int]]:
    """Words and ids of the best, the median and the worst of what there is."""
    scores = {int(seed): found for seed, found in given.items()}

    def score(seed: int) -> tuple[float, ...]:
        final = scores[seed].final
        parts = (final[name] for name in summary.MEASURES)
        return tuple(-math.inf if math.isnan(part) else part for part in parts)

    order = sorted(scores, key=score, reverse=True)
    if len(order) < 2:
        return [("", seed) for seed in order]
    middle = [("median", order[(len(order) - 1) // 2])] if len(order) > 2 else []
    return [("best", order[0]), *middle, ("worst", order[-1])]
