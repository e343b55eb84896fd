"""A small world with SMAC's interface and every way to fail, without StarCraft.

Agents have to take the action that their observation names; the team wins when its
right choices reach ``goal``. Every number of an observation can be recomputed from
process, episode, step and agent, so that a test can tell what was stored.
"""

import os
import random
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from rolemarl_jax.bridge.worker.games import Game, SetupError, battle
from rolemarl_jax.bridge.worker.protocol import Flags

HEALTH = 45.0  # of an enemy
# What may happen at a reset, and at a step; "launch" is of the game's start alone.
AT_RESET = ("crash", "hang", "killed", "scale")
AT_STEP = ("crash", "hang", "killed", "error", "ended", "nan", "shape")


class ProtocolError(Exception):
    """What pysc2 raises when the game's answer makes no sense."""


class ScriptedEnv:
    """SMAC's interface over a counting game."""

    n_enemies = 2
    reward_death_value = 10
    reward_win = 200

    def __init__(self, settings: dict[str, Any], seed: int) -> None:
        self._cfg = SimpleNamespace(**settings)
        self._random = random.Random(seed)
        self.n_agents, self.episode_limit = self._cfg.n_agents, self._cfg.episode_limit
        self.n_actions = 4
        self.max_reward = self.n_enemies * self.reward_death_value + self.reward_win
        self.enemies: dict[int, Any] = {}
        self.force_restarts = self.timeouts = self._episode_count = 0
        self._episode_steps = self._right = self._resets = 0
        self._surplus = 0  # features that nobody agreed on
        self._last = np.zeros((self.n_agents, self.n_actions))

    def get_env_info(self) -> dict[str, int]:
        """Sizes, as SMAC has them."""
        return {
            "n_agents": self.n_agents,
            "n_actions": self.n_actions,
            "obs_shape": 4 + self.n_actions + self._cfg.extra_obs,
            "state_shape": 6,
            "episode_limit": self.episode_limit,
        }

    def reset(self) -> None:
        """Begins a battle; in the first episode it launches, as SMAC does."""
        if self._cfg.reset_chance:
            self._fail("reset_chance", AT_RESET)
        if self._episode_count == 0:
            self._launch()
        self._episode_steps = self._right = 0
        self._resets += 1
        self._goal = self._cfg.goal - self._random.randrange(2)
        self._last[:] = 0

    def step(self, actions: list[int]) -> tuple[float, bool, dict[str, Any]]:
        """Reward, end and info; a lost game is (0, True, {})."""
        self._wait()
        try:
            fault = self._fail("fault_chance", AT_STEP)
        except (ProtocolError, ConnectionError):
            self._launch()
            self.force_restarts += 1
            return 0, True, {}
        right = sum(a == self._wanted(i) for i, a in enumerate(actions))
        self._right += right
        self._episode_steps += 1
        self._last = np.eye(self.n_actions)[actions]
        won = self._right >= self._goal
        timed = self._episode_steps >= self.episode_limit and not won
        self.timeouts += timed
        self._episode_count += won or timed
        self._surplus = int(fault == "shape")
        if fault == "nan":
            return float("nan"), False, {"battle_won": False}
        reward = (10.0 * right + self.reward_win * won) / (self.max_reward / 20)
        return reward, won or timed, {"battle_won": won}

    def get_obs(self) -> list[np.ndarray]:
        """Agent, episode of this process, step, wanted action (one-hot)."""
        rows = []
        for i in range(self.n_agents):
            wanted = np.eye(self.n_actions)[self._wanted(i)]
            place = [i, self._resets, self._episode_steps, os.getpid() % 1000]
            rows.append(np.concatenate([np.array(place) / 100, wanted]))
        pad = np.zeros(self._cfg.extra_obs + self._surplus)
        return [np.concatenate([row, pad]).astype(np.float32) for row in rows]

    def get_state(self) -> np.ndarray:
        """The clock, what was right so far, and the team's last actions summed."""
        head = [self._episode_steps / 100, self._right / 100]
        return np.concatenate([head, self._last.sum(0)]).astype(np.float32)

    def get_avail_actions(self) -> list[list[int]]:
        """All but the one after the wanted."""
        return [
            [int(a != (self._wanted(i) + 1) % 4) for a in range(self.n_actions)]
            for i in range(self.n_agents)
        ]

    def close(self) -> None:
        """Nothing is held."""

    def _wanted(self, agent: int) -> int:
        return (agent + self._resets + self._episode_steps) % self.n_actions

    def _launch(self) -> None:
        if "launch" in self._due("launch_chance"):
            raise ConnectionError("Failed to connect to the SC2 websocket. Is it up?")
        time.sleep(self._cfg.launch_s)
        self.enemies = {
            i: SimpleNamespace(health_max=HEALTH, shield_max=0.0)
            for i in range(self.n_enemies)
        }
        if self._episode_count == 0:
            self.max_reward += HEALTH * self.n_enemies

    def _wait(self) -> None:
        """A game step of ``step_ms``, give or take ``jitter`` of it."""
        noise = self._cfg.jitter * (2 * self._random.random() - 1)
        if self._cfg.step_ms:
            time.sleep(self._cfg.step_ms * (1 + noise) / 1000)

    def _due(self, key: str) -> tuple[str, ...]:
        """Faults that happen now."""
        return (
            self._cfg.faults if self._random.random() < getattr(self._cfg, key) else ()
        )

    def _fail(self, key: str, known: tuple[str, ...]) -> str:
        """One of ``faults``, by chance; returns those that lie in what is told."""
        due = [fault for fault in self._due(key) if fault in known]
        fault = self._random.choice(due) if due else ""
        if fault in ("error", "ended"):
            raise ProtocolError(f"game says: {fault}")
        if fault == "hang":
            time.sleep(3600)
        if fault == "crash":
            raise RuntimeError("the game's client crashed")
        if fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault == "scale":
            self.max_reward += 1.0
        return fault


def make(settings: dict[str, Any], seed: int) -> Game:
    """The scripted world behind the same code that plays SMAC.

    Raises:
        SetupError: ``broken`` is set, for tests of what a user sees.
    """
    if settings["broken"]:
        raise SetupError("this world is broken, as asked for; set env.broken=false")
    return battle.game(
        build=lambda again: ScriptedEnv(settings, seed + again),
        max_return=_perfect(settings),
        same_scale=True,
        versions=lambda _: {"seed": seed, "game_version": "scripted"},
        save_replay=_save_replay,
        flags=lambda env: Flags(obs=tuple(range(4, 4 + env.n_actions))),
    )


def _perfect(settings: dict[str, Any]) -> float:
    """Return of a team that is right in every step, with the greater of its goals."""
    env = ScriptedEnv
    n, limit = settings["n_agents"], settings["episode_limit"]
    needed = -(-settings["goal"] // n)
    paid = 10.0 * n * min(needed, limit) + env.reward_win * (needed <= limit)
    most = env.n_enemies * (env.reward_death_value + HEALTH) + env.reward_win
    return paid / (most / 20)


def _save_replay(env: Any, folder: str) -> str:
    """A file that says which episode of its process it is of."""
    path = Path(folder, "scripted.replay")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"episode {env._resets}\n", encoding="utf8")
    return str(path)
