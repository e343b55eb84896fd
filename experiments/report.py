"""One HTML file that shows a run: results, curves, episodes, configuration.

python -m experiments.report run_dir=runs/a out=report.html
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.door import cli
from experiments.door.cli import Option
from experiments.door.devices import prepare_devices
from experiments.shows.choose import check_seed
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import files, rundir
from rolemarl_jax.report import page

MOST = 16  # episodes of a seed
OPTIONS = {
    "run_dir": ...,
    "out": Option(None, "file that is written; report.html in run_dir by default"),
    "seed": Option(None, "whose episodes; by default best, median and worst"),
    "episodes": Option(1, "of each seed that are shown, 0 for none"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; options are listed in ``OPTIONS``."""
    cli.guard(lambda: _report(cli.options(OPTIONS, argv, __doc__)))


def _report(asked: dict[str, Any]) -> None:
    run_dir = Path(str(asked["run_dir"]))
    episodes = cli.whole(asked, "episodes", least=0, most=MOST)
    out = Path(str(asked["out"])) if asked["out"] else run_dir / rundir.REPORT
    rundir.load(run_dir)
    files.require_writable(out, "out")
    check_seed(run_dir, asked["seed"])
    show = _show(run_dir, asked["seed"], episodes) if episodes else None
    print(page.write(run_dir, out, show))


def _show(run_dir: Path, seed: int | None, episodes: int) -> page.Show:
    """Episodes, or why there are none."""
    try:
        prepare_devices(rundir.load_config(run_dir))
    except ConfigError as error:
        return page.Show((), f"No episodes are shown. {error}")
    # Only now may JAX be imported.
    from experiments.shows import episodes as shows

    return shows.show(run_dir, seed, episodes)


if __name__ == "__main__":
    main()
