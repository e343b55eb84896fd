"""One HTML file that shows a run: results, curves, pictures, configuration.

python -m experiments.report run_dir=runs/a out=report.html
"""

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from experiments.door import cli
from rolemarl_jax.disk import files, rundir
from rolemarl_jax.report import plotting, ranking

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #333; max-width: 1100px;
       margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
table { border-collapse: collapse; margin: .5em 0; }
td, th { padding: .25em .9em .25em 0; text-align: left; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
th { border-bottom: 1px solid #999; } tr + tr td { border-top: 1px solid #eee; }
img { max-width: 100%; } figure { margin: 1em 0; }
figcaption { color: #777; font-size: .9em; }
pre { background: #f6f6f6; padding: 1em; overflow-x: auto; font-size: 13px; }
"""
# Shown as results or at the end, not among the facts.
NOT_FACTS = (
    *("final", "best", "per_seed", "versions", "algo", "env", "map"),
    *("last_three", "ranking", "hypers", "frozen"),
)
PICTURES = {".png": "image/png", ".gif": "image/gif"}
MEASURES = {"win_rate": "Win rate", "return": "Return"}


def main(argv: Sequence[str] | None = None) -> None:
    """Reads the options and writes the report."""
    cli.guard(lambda: _report(argv))


def page(run_dir: Path) -> str:
    """The HTML of one run; everything is inside, nothing is fetched.

    Raises:
        ConfigError: there is no run in this directory.
    """
    config = rundir.load(run_dir)
    path = run_dir / rundir.SUMMARY
    summary = json.loads(path.read_text(encoding="utf8")) if path.is_file() else {}
    world = "/".join(
        str(config["env"][k]) for k in ("name", "map") if k in config["env"]
    )
    title = f"{config['algo']['name']} on {world}"
    body = [
        f"<h1>{escape(title)}</h1>",
        _results(summary),
        _pictures(run_dir, title),
        _per_seed(summary),
        _facts(summary),
        "<h2>Configuration</h2>",
        f"<pre>{escape((run_dir / rundir.CONFIG).read_text(encoding='utf8'))}</pre>",
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(filter(None, body))
        + "\n</body></html>\n"
    )


def _report(argv: Sequence[str] | None) -> None:
    asked = cli.options({"run_dir": ..., "out": None}, argv)
    run_dir = Path(str(asked["run_dir"]))
    html = page(run_dir)
    out = Path(str(asked["out"])) if asked["out"] else run_dir / rundir.REPORT
    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(out, html)
    print(out)


def _results(summary: Mapping[str, Any]) -> str:
    """IQM and interval of the last and of the best evaluations."""
    if not summary:
        return "<p>The run has not finished: there is no summary.json yet.</p>"
    if "ranking" in summary:
        found = _table(*ranking.rows(summary["ranking"]))
        return f"<h2>Ranking</h2>{found}<p>{escape(ranking.NOTE)}</p>"
    rows = [
        [label, *(_interval(key, summary[when][key]) for when in ("final", "best"))]
        for key, label in MEASURES.items()
        if summary["final"][key]["iqm"] is not None
    ]
    note = (
        f"Interquartile mean over {summary['seeds']} seeds, with 95 % stratified "
        f"bootstrap interval; {summary['test_episodes']} greedy episodes an "
        "evaluation. The best of several evaluations is biased upwards."
    )
    head = ["", "Final evaluation", "Best evaluation"]
    return f"<h2>Results</h2>{_table(head, rows)}<p>{note}</p>"


def _interval(key: str, found: Mapping[str, float | None]) -> str:
    """``0.50 [0.40, 0.60]``, or percentages for a win rate."""
    form = "{:.1%}" if key == "win_rate" else "{:.2f}"
    value, low, high = (
        "-" if found[name] is None else form.format(found[name])
        for name in ("iqm", "low", "high")
    )
    return f"{value} [{low}, {high}]"


def _per_seed(summary: Mapping[str, Any]) -> str:
    """Every seed's own numbers."""
    if not summary.get("per_seed"):
        return ""
    columns = [(when, key) for key in MEASURES for when in ("final", "best")]
    head = ["Seed", *(f"{MEASURES[key]}, {when}" for when, key in columns)]
    rows = [
        [seed, *(_cell(key, found[when][key]) for when, key in columns)]
        for seed, found in summary["per_seed"].items()
    ]
    return f"<h2>Seeds</h2>{_table(head, rows)}"


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1%}" if key == "win_rate" else f"{value:.2f}"


def _facts(summary: Mapping[str, Any]) -> str:
    """Speed, device, versions, commit."""
    facts = {k: v for k, v in summary.items() if k not in NOT_FACTS}
    facts |= {f"{k} version": v for k, v in summary.get("versions", {}).items()}
    rows = [
        [key.replace("_", " "), f"{value:,.2f}" if isinstance(value, float) else value]
        for key, value in facts.items()
        if value is not None
    ]
    return f"<h2>Run</h2>{_table([], rows)}" if rows else ""


def _pictures(run_dir: Path, title: str) -> str:
    """Curves drawn anew, then every other picture of the run."""
    if (run_dir / rundir.METRICS).is_file():
        plotting.curves({title: run_dir}, run_dir / rundir.CURVES)
    found = [*run_dir.glob("*"), *run_dir.glob("[!.]*/*")]
    paths = sorted(path for path in found if path.suffix in PICTURES)
    paths.sort(key=lambda path: path.name != rundir.CURVES)
    return "\n".join(
        f'<figure><img alt="{escape(path.name)}" src="data:{PICTURES[path.suffix]};'
        f'base64,{base64.b64encode(path.read_bytes()).decode()}">'
        f"<figcaption>{escape(str(path.relative_to(run_dir)))}</figcaption></figure>"
        for path in paths
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """An HTML table; all columns but the first are aligned right if it has a head."""
    align = ' class="n"' if head else ""

    def line(tag: str, cells: Sequence[Any]) -> str:
        inside = [
            f"<{tag}{align if index else ''}>{escape(str(cell))}</{tag}>"
            for index, cell in enumerate(cells)
        ]
        return f"<tr>{''.join(inside)}</tr>"

    lines = ([line("th", head)] if head else []) + [line("td", row) for row in rows]
    return f"<table>{''.join(lines)}</table>"


if __name__ == "__main__":
    main()
