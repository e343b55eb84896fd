"""Says in plain words what is wrong with an algorithm's role method.

python -m experiments.check_method algo=roma env=windy_maze
python -m experiments.check_method --config-dir conf algo=my_method env=windy_maze

The exit status is 0, or 1 if there is something to mend.
"""

from typing import TYPE_CHECKING

from experiments.door import cli

if TYPE_CHECKING:
    from rolemarl_jax.run_config import RunConfig


def main() -> None:
    """Entry point; see ``--help``."""
    cli.launch(_check, about=__doc__)


def _check(cfg: "RunConfig") -> None:
    import envs
    from experiments.door.findings import tell
    from rolemarl_jax.checks.method import check_method

    spec = envs.make_compiled(cfg.env).spec
    told = f"{cfg.algo['name']} ({cfg.algo['learner']}) in {spec.name}"
    tell(told, check_method(cfg.algo, spec, cfg.seed))


if __name__ == "__main__":
    main()
