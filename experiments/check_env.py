"""Says in plain words what is wrong with a world, before networks complain.

python -m experiments.check_env env=windy_maze
python -m experiments.check_env --config-dir conf env=my_world

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
    from rolemarl_jax.checks.world import check_env

    env = envs.make_compiled(cfg.env)
    spec = env.spec
    told = (
        f"{spec.name}: {spec.n_agents} agents, {spec.n_actions} actions, observations "
        f"of {spec.obs_dim}, state of {spec.state_dim}, {spec.episode_limit} steps"
    )
    tell(told, check_env(env, cfg.seed))


if __name__ == "__main__":
    main()
