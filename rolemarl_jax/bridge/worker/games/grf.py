"""Google Research Football's academy scenarios through the package ``gfootball``."""

import random
from typing import Any

import numpy as np

from rolemarl_jax.bridge.worker.games import Game, Outcome, SetupError
from rolemarl_jax.bridge.worker.protocol import Seen, Shapes

ACTIONS, FEATURES = 19, 115  # of `simple115v2`
SEED_BITS = 30  # the engine takes seeds up to two thousand millions


class Football:
    """One scenario; all controlled players share the reward."""

    def __init__(self, env: Any, agents: int, time_limit: int, seed: int) -> None:
        self._env, self._agents, self._limit = env, agents, time_limit
        self._random = random.Random(seed)
        self._steps = 0

    def reset(self) -> Seen:
        """Begins an episode, with another seed of the engine each."""
        self._steps = 0
        self._draw_seed()
        return self._look(self._env.reset())

    def step(self, actions: list[int]) -> Outcome:
        """One step; a goal of ours is a win."""
        self._steps += 1
        obs, reward, ended, info = self._env.step(actions)
        return Outcome(
            seen=self._look(obs),
            reward=float(np.mean(reward)),
            terminated=bool(ended),
            truncated=not ended and self._steps >= self._limit,
            won=bool(info.get("score_reward", 0) > 0),
            aborted=False,
        )

    def _draw_seed(self) -> None:
        """The package begins every game with the seed that its configuration keeps.

        It also derives which team moves first from a seed, the first one alone.
        """
        seed = self._random.getrandbits(SEED_BITS)
        config = self._env.unwrapped._config
        config["game_engine_random_seed"] = seed
        config["reverse_team_processing"] = bool(seed % 2)

    def _look(self, obs: Any) -> Seen:
        """With one player the package leaves the agents' axis out."""
        rows = np.asarray(obs, np.float32).reshape(self._agents, FEATURES)
        return Seen(rows, rows.ravel(), np.ones((self._agents, ACTIONS), bool))


def make(settings: dict[str, Any], seed: int) -> Game:
    """The scenario ``settings["map"]`` with ``settings["agents"]`` players.

    Raises:
        SetupError: gfootball is missing.
    """
    try:
        from gfootball.env import create_environment
    except ImportError as error:
        raise SetupError(
            f"package gfootball cannot be imported ({error}); it is built from source "
            "with pins of its own, see docs/starcraft.md"
        ) from None
    env = create_environment(
        env_name=settings["map"],
        representation="simple115v2",
        rewards=settings["rewards"],
        number_of_left_players_agent_controls=settings["agents"],
        other_config_options={"game_engine_random_seed": seed},
    )
    agents = settings["agents"]
    world = Football(env, agents, settings["time_limit"], seed)
    return Game(
        shapes=Shapes(agents, ACTIONS, FEATURES, agents * FEATURES),
        episode_limit=settings["time_limit"],
        reset=world.reset,
        step=world.step,
        info=lambda: {"seed": seed},
        close=env.close,
    )
