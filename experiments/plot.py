"""Pictures of one or more runs: learning curves, and what compares algorithms.

python -m experiments.plot 'runs=[runs/a,runs/b]' out=curves.pdf
python -m experiments.plot runs='runs/acorm-*' metric=return out=curves.svg
python -m experiments.plot runs=runs kind=profile out=profile.png
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.door import cli
from experiments.door.cli import Option
from rolemarl_jax.config import ConfigError, require_name
from rolemarl_jax.disk import files
from rolemarl_jax.report import canvas, figures, gather, plotting
from rolemarl_jax.report.gather import Group
from rolemarl_jax.report.scores import Asked

KINDS = ("curves", "profile", "improvement", "efficiency")
OPTIONS = {
    "runs": Option(
        ...,
        "run directories, folders that hold some, or patterns such as 'runs/acorm-*'",
        many=True,
    ),
    "out": Option("curves.png", "picture: a name in .png, .pdf or .svg"),
    "kind": Option("curves", "curves, profile, improvement or efficiency"),
    "metric": Option(
        [], "columns of metrics.jsonl; the headline measure if none is given"
    ),
    "split": Option(
        None, "test (greedy) or train (exploring); where the column is by default"
    ),
    "smooth": Option(
        1, "points of a seed's curve over which each of its points is the mean"
    ),
    "losses": Option(False, "small panels of every loss below, in one world"),
    "merge": Option(
        "same", "runs of one curve: same (configuration), algo (any), none"
    ),
    "labels": Option([], "one for each curve, in place of the algorithm's name"),
    "baseline": Option(
        None, "label that kind=improvement compares with; the first by default"
    ),
    "title": Option("", "above the panels"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; options are listed in ``OPTIONS``.

    Raises:
        SystemExit: status 2 for wrong options or where no run can be read, 1 where some
            were left out.
    """
    cli.guard(lambda: _plot(argv))


def _plot(argv: Sequence[str] | None) -> None:
    asked = cli.options(OPTIONS, argv, __doc__)
    canvas.require_format(str(asked["out"]))
    files.require_writable(Path(str(asked["out"])), "out")
    require_name("kind", asked["kind"], KINDS)
    _require_read(asked)
    found = gather.gather(asked["runs"], asked["merge"], asked["labels"])
    print(_draw(found.groups, asked))
    left_out(found)


def _require_read(asked: dict[str, Any]) -> None:
    """Refuses options that the picture would not show.

    Raises:
        ConfigError: names what would read one.
    """
    kind, curves = asked["kind"], "kind=curves"
    readers = {
        "smooth": curves,
        "losses": curves,
        "baseline": "kind=improvement",
    }
    faults = {
        key: reader for key, reader in readers.items() if reader != f"kind={kind}"
    }
    if asked["losses"]:
        faults |= dict.fromkeys(("smooth", "split"), "pictures without losses=true")
    for key, reader in faults.items():
        if asked[key] != OPTIONS[key].default:
            raise ConfigError(
                f"{key}: got {asked[key]!r} with kind={kind}, which nothing reads "
                f"here; it is read by {reader}"
            )


def left_out(found: gather.Gathered) -> None:
    """Tells what was left out; the others have been shown.

    Raises:
        SystemExit: status 1 where a run could not be read.
    """
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    if not found.broken:
        return
    whole = {run for group in found.groups for run in group.runs}
    left = f"error: {len(found.broken)} of {len(found.broken) + len(whole)}"
    print(f"{left} runs left out", *found.broken.values(), sep="\n", file=sys.stderr)
    sys.exit(1)


def _draw(groups: Sequence[Group], asked: dict[str, Any]) -> Path:
    """The picture of that kind."""
    out, title, kind = Path(str(asked["out"])), str(asked["title"]), asked["kind"]
    metrics = [str(metric) for metric in asked["metric"]]
    if kind == "curves":
        return _curves(groups, metrics, asked, out, title)
    if len(metrics) > 1:
        raise ConfigError(f"metric: got {metrics}; allowed with kind={kind}: one")
    what = Asked(metrics[0] if metrics else None, asked["split"])
    if kind == "improvement":
        return figures.improvement(groups, what, asked["baseline"], out, title)
    drawn = {"profile": figures.profile, "efficiency": figures.efficiency}
    return drawn[kind](groups, what, out, title)


def _curves(
    groups: Sequence[Group],
    metrics: Sequence[str],
    asked: dict[str, Any],
    out: Path,
    title: str,
) -> Path:
    """Learning curves, of one world with its losses if these are asked for."""
    smooth = cli.whole(asked, "smooth", least=1)
    if not asked["losses"]:
        return figures.panels(
            groups, metrics or [None], asked["split"], smooth, out, title
        )
    worlds = list(dict.fromkeys(group.world for group in groups))
    if metrics or len(worlds) > 1:
        got = f"metric={metrics}" if metrics else f"worlds {', '.join(worlds)}"
        raise ConfigError(
            f"losses: got true with {got}; allowed: runs of one world, of which every "
            "loss is drawn"
        )
    rows = {g.label: g.rows for g in groups}
    return plotting.curves(rows, out, title or worlds[0], losses=True)


if __name__ == "__main__":
    main()
