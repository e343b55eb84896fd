"""The one number of a run that terminal, report, tables and evaluations show.

It is the mean of each seed's last three evaluations, interquartile mean over seeds, of
the win rate; of the return where no episode was ever won, as in worlds that know no
win. Fewer seeds than ``stats.ENOUGH`` have a range in place of an interval.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from rolemarl_jax.members import Row
from rolemarl_jax.report import stats
from rolemarl_jax.report.stats import Interval

LAST = 3  # evaluations behind it
WHEN = "mean of the last three evaluations"
WHEN_TRAINING = "mean of the last three rows of training"
NAMES = {"win_rate": "win rate", "return": "return"}
FORMS = {"win_rate": ".3f", "return": ".2f"}


def measure(rows: Iterable[Row]) -> str:
    """``win_rate``, or ``return`` where no row knows of a win.

    Args:
        rows: of all runs that are to be compared in one world, of any split.
    """
    wins = (row.get("win_rate") for row in rows)
    return "win_rate" if any(w is not None and w > 0 for w in wins) else "return"


def of_seed(column: Sequence[float] | np.ndarray) -> float:
    """Mean of a seed's last three numbers that are known; NaN if none is.

    Args:
        column: one number an evaluation, in order ``[n]``; NaN or infinite if unknown.
    """
    values = np.asarray(column, float)
    known = values[np.isfinite(values)][-LAST:]
    return float(known.mean()) if known.size else math.nan


def name(measure: str) -> str:
    """What tables call it: ``win rate, mean of the last three evaluations``."""
    return f"{NAMES[measure]}, {WHEN}"


def number(found: Interval, form: str, seeds: int) -> str:
    """``0.87 [0.85, 0.90]``; the value alone of one seed, ``none`` if unknown."""
    if seeds == 1 and math.isfinite(found.value):
        return format(found.value, form)
    return stats.text(found, form)


def text(found: Interval, measure: str, seeds: int) -> str:
    """The number, and what it is: for a line of its own."""
    band = stats.band(seeds)
    over = "interquartile mean, " if seeds > 1 else ""
    return f"{number(found, FORMS[measure], seeds)} ({WHEN}; {over}{band})"
