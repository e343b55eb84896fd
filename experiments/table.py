"""Tables of runs: results side by side, or all rows of one run.

python -m experiments.table 'runs=[runs/a,runs/b]' out=results.md
python -m experiments.table runs='runs/*' out=results.tex
python -m experiments.table runs='runs/*' out=marl_eval.json
python -m experiments.table run_dir=runs/a out=metrics.csv
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.door import cli
from experiments.door.cli import Option
from experiments.plot import left_out
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import files
from rolemarl_jax.report import gather, marl_eval, results, table
from rolemarl_jax.report.scores import Asked

FORMS = {
    ".md": results.markdown,
    ".tex": results.latex,
    ".csv": results.comma_separated,
}
JSON = ".json"
OPTIONS = {
    "runs": Option(
        [],
        "run directories, folders that hold some, or patterns such as 'runs/*'",
    ),
    "run_dir": Option(
        None, "one run instead, all rows of whose metrics.jsonl become a CSV"
    ),
    "out": Option(
        None,
        "a name in .md, .tex or .csv; in .json: all evaluations of all seeds, as "
        "marl-eval reads them; printed as Markdown by default",
    ),
    "metric": Option(None, "column of metrics.jsonl; the headline measure by default"),
    "split": Option(
        None, "test (greedy) or train (exploring); where the column is by default"
    ),
    "merge": Option("same", "runs of one line: same (configuration), algo (any), none"),
    "labels": Option([], "one for each line, in place of the algorithm's name"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; options are listed in ``OPTIONS``.

    Raises:
        SystemExit: status 2 for wrong options or where no run can be read, 1 where some
            were left out.
    """
    cli.guard(lambda: _table(argv))


def _table(argv: Sequence[str] | None) -> None:
    asked = cli.options(OPTIONS, argv, __doc__)
    if bool(asked["runs"]) == (asked["run_dir"] is not None):
        raise ConfigError(
            "runs, run_dir: give one of them: runs=... for a table of results, "
            "run_dir=... for all rows of one run"
        )
    if asked["run_dir"] is not None:
        _require_rows_only(asked)
        out = Path(str(asked["out"] or "metrics.csv"))
        files.require_writable(out, "out")
        print(table.rows_to_csv(Path(str(asked["run_dir"])), out))
        return
    out = None if asked["out"] is None else Path(str(asked["out"]))
    suffix = ".md" if out is None else out.suffix.lower()
    if suffix not in (*FORMS, JSON):
        raise ConfigError(
            f"out: got '{out}'; allowed: a name in {', '.join((*FORMS, JSON))}"
        )
    if out is not None:
        files.require_writable(out, "out")
    metric, split = asked["metric"], asked["split"]
    if suffix == JSON and not (metric is None and split is None):
        raise ConfigError(
            f"metric, split: got {metric} and {split} with out={out}; allowed: "
            "neither; it has win rate and return of evaluations"
        )
    found = gather.gather(asked["runs"], asked["merge"], asked["labels"])
    if suffix == JSON:
        text = marl_eval.document(found.groups)
    else:
        what = Asked(None if metric is None else str(metric), split)
        text = FORMS[suffix](results.cells(found.groups, what))
    cli.hand_out(text, out)
    left_out(found)


def _require_rows_only(asked: dict[str, Any]) -> None:
    """Refuses what a table of all rows of one run would not read.

    Raises:
        ConfigError: names it.
    """
    for key in ("metric", "split", "merge", "labels"):
        if asked[key] != OPTIONS[key].default:
            raise ConfigError(
                f"{key}: got {asked[key]!r} with run_dir; it is read by runs="
            )
    suffix = Path(str(asked["out"] or "metrics.csv")).suffix.lower()
    if suffix != ".csv":
        raise ConfigError(
            f"out: got '{asked['out']}' with run_dir; allowed: a name in .csv"
        )


if __name__ == "__main__":
    main()
