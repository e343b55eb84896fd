"""One HTML file that shows a run: results, curves, episodes, configuration."""

import base64
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import files, rundir
from rolemarl_jax.report import headline, names, plotting, ranking, stats, summary
from rolemarl_jax.report.page import player
from rolemarl_jax.report.page.episode import Show
from rolemarl_jax.report.summary import MEASURES, Summary

PICTURES = {".png": "image/png", ".gif": "image/gif"}
MOST_BYTES = 2_000_000  # of all pictures of a page
FORMS = headline.FORMS
__all__ = ["Show", "html", "write"]
# Fields of a summary, as rows.
WHEN = {
    "last_three": "Mean of the last three evaluations",
    "final": "Last evaluation",
    "best": "Best evaluation",
}
UNFINISHED = "<p>The run has not finished: there is no summary.json yet.</p>"


def write(run_dir: Path, out: Path, show: Show | None = None) -> Path:
    """Writes the page of one run as a whole; returns its path.

    Args:
        run_dir: of the run. out: the file. show: of its episodes.

    Raises:
        ConfigError: there is no run in this directory.
    """
    text = html(run_dir, show)
    out.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(out, text)
    return out


def html(run_dir: Path, show: Show | None = None) -> str:
    """The HTML of one run; everything is inside, nothing is fetched.

    Raises:
        ConfigError: there is no run in this directory.
    """
    config = rundir.load(run_dir)
    found, without = _summary(run_dir)
    title = f"{names.algo(config)} on {names.world(config)}"
    body = [
        f"<h1>{escape(title)}</h1>",
        _results(found) if found else without,
        _pictures(run_dir, title),
        player.section(show) if show else "",
        _per_seed(found) if found else "",
        _facts(found) if found else "",
        "<h2>Configuration</h2>",
        f"<pre>{escape((run_dir / rundir.CONFIG).read_text(encoding='utf8'))}</pre>",
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{player.asset('page.css')}</style>"
        f"</head>\n<body>\n<script>{player.asset('theme.js')}</script>\n"
        + "\n".join(filter(None, body))
        + "\n</body></html>\n"
    )


def _summary(run_dir: Path) -> tuple[Summary | None, str]:
    """The summary, and what stands in its place where there is none."""
    try:
        return summary.read(run_dir), UNFINISHED
    except ConfigError as error:
        return None, f"<p>{escape(str(error))}</p>"


def _results(found: Summary) -> str:
    """IQM and interval of the last and of the best evaluations."""
    if found.ranking:
        combinations = _table(*ranking.rows(found.ranking))
        return f"<h2>Ranking</h2>{combinations}<p>{escape(ranking.NOTE)}</p>"
    key = found.measure
    first = headline.text(found.last_three[key], key, found.seeds)
    others = ((label, getattr(found, when)) for when, label in WHEN.items())
    rows = [
        [
            label,
            *(headline.number(one[key], FORMS[key], found.seeds) for key in MEASURES),
        ]
        for label, one in others
    ]
    band = f"; brackets: {stats.band(found.seeds)}" if found.seeds > 1 else ""
    note = (
        f"{found.test_episodes} greedy episodes an evaluation{band}. The best of "
        "several evaluations is biased upwards."
    )
    return (
        f"<h2>Results</h2><p><b>{escape(headline.NAMES[key])} {escape(first)}</b></p>"
        f"{_table(['', *MEASURES.values()], rows)}<p>{escape(note)}</p>"
    )


def _per_seed(found: Summary) -> str:
    """Every seed's own numbers."""
    if not found.per_seed:
        return ""
    head = [
        f"{label}, {when}" for label in MEASURES.values() for when in ("final", "best")
    ]
    rows = [
        [
            seed,
            *(_cell(key, at[key]) for key in MEASURES for at in (one.final, one.best)),
        ]
        for seed, one in found.per_seed.items()
    ]
    return f"<h2>Seeds</h2>{_table(['Seed', *head], rows)}"


def _cell(key: str, value: float) -> str:
    return "-" if math.isnan(value) else format(value, FORMS[key])


def _facts(found: Summary) -> str:
    """Speed, device, versions, commit."""
    facts = {
        "preset": found.preset,
        "seeds": found.seeds,
        "env_steps": found.env_steps,
        "test_episodes": found.test_episodes,
        **found.measured,
        "device": found.device,
        "commit": found.commit,
        **{f"{name} version": version for name, version in found.versions.items()},
    }
    rows = [
        [key.replace("_", " "), f"{value:,.2f}" if isinstance(value, float) else value]
        for key, value in facts.items()
        if value is not None
    ]
    return f"<h2>Run</h2>{_table([], rows)}"


def _pictures(run_dir: Path, title: str) -> str:
    """Curves with all losses, then every picture of the run but its own curves."""
    found = [*run_dir.glob("*"), *run_dir.glob("[!.]*/*")]
    paths = {
        str(path.relative_to(run_dir)): path
        for path in sorted(found)
        if path.suffix in PICTURES and path != run_dir / rundir.CURVES
    }
    with tempfile.TemporaryDirectory() as scratch:
        if (run_dir / rundir.METRICS).is_file():
            drawn = Path(scratch) / rundir.CURVES
            plotting.curves({title: run_dir}, drawn, losses=True)
            paths = {rundir.CURVES: drawn, **paths}
        return "\n".join(_figures(paths))


def _figures(paths: Mapping[str, Path]) -> Iterator[str]:
    """Pictures by their names, as far as the page has room."""
    room = MOST_BYTES
    for name, path in paths.items():
        room -= path.stat().st_size
        yield _figure(path, name, fits=room >= 0)


def _figure(path: Path, name: str, *, fits: bool) -> str:
    """A picture with its name, or its name alone where the page has no room left."""
    if not fits:
        return f"<p>{escape(name)} lies in the run's directory.</p>"
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><img alt="{escape(path.name)}" src="data:{PICTURES[path.suffix]};'
        f'base64,{data}"><figcaption>{escape(name)}</figcaption></figure>'
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
