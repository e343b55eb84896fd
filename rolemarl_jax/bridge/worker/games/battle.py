"""Any environment with SMAC's interface as a ``Game``.

Handles what that interface leaves to its callers: a lost game looks like the end of
an episode (``info == {}``), the time limit is not marked, rewards are divided by a
number that a failure in a process's first episode silently doubles, and observations
may be asked for once a step only.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from rolemarl_jax.bridge.worker.games import Game, Outcome
from rolemarl_jax.bridge.worker.protocol import Flags, Seen, Shapes

RESETS = 3  # before the process gives up


class ScaleError(RuntimeError):
    """The game divides its rewards by another number than its enemies give."""


class Battle:
    """A SMAC-like environment that is rebuilt when its state cannot be trusted."""

    def __init__(self, build: Callable[[int], Any]) -> None:
        self._build, self.rebuilt = build, 0
        self._env = build(0)
        self._spoiled = False  # a failure in the first episode of this object
        self.restarts = 0
        self.first = self._env.get_env_info()

    @property
    def env(self) -> Any:
        """The environment in use."""
        return self._env

    def reset(self) -> Seen:
        """Begins an episode; its return value is never used, the wrapper's is None.

        A game that was lost while it began may show the units of the battle before, so
        it begins again.

        Raises:
            RuntimeError: the game was lost each time.
        """
        for _ in range(RESETS):
            if self._spoiled:
                self._rebuild()
            self._spoiled = self._env._episode_count == 0
            before = self._env.force_restarts
            self._env.reset()
            lost = self._env.force_restarts - before
            self.restarts += lost
            if not lost:
                self._check_scale()
                return self._look()
        raise RuntimeError(f"the game was lost at {RESETS} resets in a row")

    def step(self, actions: list[int]) -> Outcome:
        """One step; ``info == {}`` is how a lost game is reported."""
        timeouts, before = self._env.timeouts, self._env.force_restarts
        reward, ended, info = self._env.step(actions)
        self.restarts += self._env.force_restarts - before
        aborted = not info
        truncated = ended and self._env.timeouts > timeouts
        if ended and not aborted:
            self._spoiled = False
        return Outcome(
            seen=self._look(),
            reward=float(reward),
            terminated=bool(ended and not truncated),
            truncated=bool(truncated),
            won=bool(info.get("battle_won", False)),
            aborted=aborted,
        )

    def scale(self) -> float:
        """The number that rewards are divided by, before the scale rate."""
        return float(self._env.max_reward)

    def close(self) -> None:
        """Ends the game."""
        self._env.close()

    def _look(self) -> Seen:
        """One observation; SMACv2's ``get_obs`` changes when asked twice."""
        return Seen(
            np.asarray(self._env.get_obs(), np.float32),
            np.asarray(self._env.get_state(), np.float32),
            np.asarray(self._env.get_avail_actions(), bool),
        )

    def _rebuild(self) -> None:
        """A new object: only that resets the count of episodes and the scale."""
        self._env.close()
        self.rebuilt += 1
        self._env = self._build(self.rebuilt)

    def _check_scale(self) -> None:
        """In the first episode the scale is what the enemies' health gives."""
        env = self._env
        if env._episode_count:
            return
        health = sum(u.health_max + u.shield_max for u in env.enemies.values())
        kills = env.n_enemies * env.reward_death_value
        expected = kills + env.reward_win + health
        if abs(env.max_reward - expected) > 1e-3:
            raise ScaleError(f"max_reward is {env.max_reward}, enemies give {expected}")


def game(
    build: Callable[[int], Any],
    *,
    max_return: float | None,
    same_scale: bool,
    versions: Callable[[Any], dict[str, Any]],
    save_replay: Callable[[Any, str], str],
    flags: Callable[[Any], Flags],
) -> Game:
    """The record of a SMAC-like environment.

    Args:
        build: makes the environment, the n-th again; it should take another seed
            then, or what failed fails again. max_return, same_scale: see ``Game``.
        versions: of a running environment. save_replay: environment, folder.
        flags: of an environment that was made.
    """
    battle = Battle(build)
    first = battle.first

    def info() -> dict[str, Any]:
        return {
            **versions(battle.env),
            "max_reward": battle.scale(),
            "game_restarts": battle.restarts,
            "rebuilt": battle.rebuilt,
        }

    return Game(
        shapes=Shapes(
            first["n_agents"],
            first["n_actions"],
            first["obs_shape"],
            first["state_shape"],
        ),
        episode_limit=int(first["episode_limit"]),
        max_return=max_return,
        same_scale=same_scale,
        reset=battle.reset,
        step=battle.step,
        scale=battle.scale,
        restarts=lambda: battle.restarts,
        info=info,
        save_replay=lambda folder: save_replay(battle.env, folder),
        close=battle.close,
        flags=flags(battle.env),
    )
