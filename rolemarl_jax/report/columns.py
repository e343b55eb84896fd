"""Which column of ``metrics.jsonl`` is meant, and where its numbers are."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from rolemarl_jax.config import ConfigError, nearest
from rolemarl_jax.members import Row
from rolemarl_jax.report import headline, lines

SPLITS = ("test", "train")
TITLES = {
    "win_rate": "Win rate",
    "return": "Return",
    "episode_length": "Episode length",
    "episodes": "Episodes",
}
KINDS = {"test": "greedy evaluation", "train": "training, exploring"}


class Column(NamedTuple):
    """A measure of one split."""

    key: str
    split: str

    @property
    def title(self) -> str:
        """Above a panel: ``Win rate (greedy evaluation)``."""
        if self.key not in TITLES:
            return self.key
        return f"{TITLES[self.key]} ({KINDS[self.split]})"


def known(rows: Iterable[Row]) -> dict[str, set[str]]:
    """Columns that measure something, with the splits that have numbers of them."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for key, value in row.items():
            if not lines.is_label(key) and isinstance(value, int | float):
                splits = found.setdefault(key, set())
                if np.isfinite(value):
                    splits.add(str(row["split"]))
    return {key: splits for key, splits in found.items() if splits}


def require_split(asked: str | None) -> None:
    """Refuses a split that there is not.

    Raises:
        ConfigError: neither ``test`` nor ``train``.
    """
    if asked is not None and asked not in SPLITS:
        raise ConfigError(f"split: got '{asked}'; {nearest(str(asked), SPLITS)}")


def require(asked: str, rows: Iterable[Row]) -> None:
    """Refuses a column that no run has.

    Raises:
        ConfigError: names those that there are.
    """
    there = known(rows)
    if asked not in there:
        raise ConfigError(f"metric: got '{asked}'; {nearest(asked, there)}")


def chosen(asked: str | None, split: str | None, rows: Sequence[Row]) -> Column | None:
    """The column that is meant; None where these rows have no number of it.

    Args:
        asked: its name; None is the headline measure.
        split: ``test`` or ``train``; None is ``test`` where it has the column.
        rows: of all runs of one world.
    """
    key = headline.measure(rows) if asked is None else asked
    splits = known(rows).get(key, set())
    # Without being asked for, training is not shown in place of evaluations.
    wanted = split or ("test" if asked is None or "test" in splits else "train")
    return Column(key, wanted) if wanted in splits else None
