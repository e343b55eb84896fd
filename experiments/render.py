"""A film of an episode that a stored run's policy plays, in any compiled world.

python -m experiments.render run_dir=runs/a out=film.gif
python -m experiments.render run_dir=runs/a seed=1 episode=2 out=film.mp4
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.door import cli
from experiments.door.cli import Option
from experiments.door.devices import prepare_devices
from experiments.shows.choose import check_seed
from rolemarl_jax.disk import files, rundir

MOST = 16  # episodes of a seed
SMALLEST, LARGEST = 120, 2000  # pixels
OPTIONS = {
    "run_dir": ...,
    "out": Option(None, "a GIF or an MP4; film.gif in run_dir by default"),
    "seed": Option(None, "whose policy; by default the best seed's"),
    "episode": Option(1, "which of its episodes, counted from 1 as in the report"),
    "size": Option(480, "pixels of its width"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; options are listed in ``OPTIONS``."""
    cli.guard(lambda: _render(cli.options(OPTIONS, argv, __doc__)))


def _render(asked: dict[str, Any]) -> None:
    run_dir = Path(str(asked["run_dir"]))
    out = Path(str(asked["out"])) if asked["out"] else run_dir / rundir.FILM
    episode = cli.whole(asked, "episode", least=1, most=MOST)
    size = cli.whole(asked, "size", least=SMALLEST, most=LARGEST)
    cfg = rundir.load_config(run_dir)
    files.require_writable(out, "out")
    check_seed(run_dir, asked["seed"])
    from envs.picture import film

    film.require_codec(out)
    prepare_devices(cfg)
    # Only now may JAX be imported.
    from experiments.shows.episodes import played

    acts = next(played(run_dir, asked["seed"], episode))
    pictures = acts.film(episode - 1, size)
    out.parent.mkdir(parents=True, exist_ok=True)
    film.write(out, pictures)
    print(f"{out}: {acts.title(episode - 1)}")


if __name__ == "__main__":
    main()
