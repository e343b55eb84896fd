"""Gymnasium environments of several agents, in the sense of EPyMARL.

Spaces are tuples with one entry an agent; observations and actions are padded to the
largest agent's. The state is the environment's ``get_state`` if it has one, else all
observations; likewise available actions. The team's reward is the sum of its agents' or
their mean.
"""

import importlib
from typing import Any

import numpy as np

from rolemarl_jax.bridge.worker.games import Game, Outcome, SetupError
from rolemarl_jax.bridge.worker.protocol import Seen, Shapes


class Gymma:
    """One environment made by ``gymnasium.make``, with a time limit of ours."""

    def __init__(self, env: Any, time_limit: int, seed: int, team_reward: str) -> None:
        self._env, self._core = env, env.unwrapped
        self._team = {"sum": np.sum, "mean": np.mean}[team_reward]
        self._limit, self._seed = time_limit, seed
        self._steps, self._first = 0, True
        try:
            self._obs_sizes = [int(np.prod(one.shape)) for one in env.observation_space]
            self._choices = [int(one.n) for one in env.action_space]
        except (AttributeError, TypeError):
            raise SetupError(
                f"id: {env} has spaces {env.observation_space} and {env.action_space}; "
                "allowed: tuples of Box and of Discrete, one entry an agent"
            ) from None
        self._own_state = hasattr(self._core, "get_state")
        self._own_avail = hasattr(self._core, "get_avail_actions")
        n, o = len(self._obs_sizes), max(self._obs_sizes)
        state = n * o
        if self._own_state:  # it need not say how large; an episode shows it
            env.reset(seed=seed)
            state = np.size(self._core.get_state())
        self.shapes = Shapes(n, max(self._choices), o, int(state))

    def reset(self) -> Seen:
        """Begins an episode; the seed is given once, later ones follow from it."""
        obs, _ = self._env.reset(seed=self._seed if self._first else None)
        self._first, self._steps = False, 0
        return self._look(obs)

    def step(self, actions: list[int]) -> Outcome:
        """One step; ended by itself, or cut by us at the time limit.

        Raises:
            SetupError: the environment has a time limit of its own, and a lower one.
        """
        self._steps += 1
        obs, reward, ended, cut, info = self._env.step([int(a) for a in actions])
        terminated = bool(np.all(ended))
        truncated = not terminated and self._steps >= self._limit
        if bool(np.all(cut)) and not terminated and not truncated:
            # Learners keep one cut a time limit, the most that there can be.
            raise SetupError(
                f"time_limit: got {self._limit}, and the environment truncates after "
                f"{self._steps} steps; set env.time_limit={self._steps} or lower, or "
                "raise its own limit, as by +env.kwargs.max_episode_steps="
                f"{self._limit}"
            )
        return Outcome(
            seen=self._look(obs),
            reward=float(self._team(reward)),
            terminated=terminated,
            truncated=truncated,
            won=bool(info.get("battle_won", False)),
            aborted=False,
        )

    def _look(self, obs: Any) -> Seen:
        n, a, o, _ = self.shapes
        padded = np.zeros((n, o), np.float32)
        avail = np.zeros((n, a), bool)
        for i, row in enumerate(obs):
            flat = np.asarray(row, np.float32).ravel()
            padded[i, : flat.size] = flat
            avail[i, : self._choices[i]] = True
        if self._own_avail:
            avail = np.asarray(self._core.get_avail_actions()).astype(bool)
        state = self._core.get_state() if self._own_state else padded
        return Seen(padded, np.asarray(state, np.float32).ravel(), avail)


def make(settings: dict[str, Any], seed: int) -> Game:
    """The environment ``settings["id"]`` after importing ``settings["imports"]``.

    Raises:
        SetupError: a package or the id is missing, or the spaces do not fit.
    """
    try:
        import gymnasium
        import gymnasium.error
    except ImportError as error:
        raise SetupError(
            f"package gymnasium cannot be imported ({error}); pip install gymnasium"
        ) from None
    for name in settings["imports"]:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise SetupError(
                f"imports: package {name} cannot be imported ({error}); pip install "
                f"{name} into the interpreter of bridge.python"
            ) from None
    try:
        env = gymnasium.make(
            settings["id"], disable_env_checker=True, **settings["kwargs"]
        )
    except gymnasium.error.Error as error:
        raise SetupError(f"id: got {settings['id']!r}; {error}") from None
    if settings["limit_attribute"] is not None:
        # Its own limit would say `terminated`: it must never be reached.
        _require_attribute(env.unwrapped, settings["limit_attribute"])
        setattr(env.unwrapped, settings["limit_attribute"], settings["time_limit"] + 1)
    world = Gymma(env, settings["time_limit"], seed, settings["team_reward"])
    return Game(
        shapes=world.shapes,
        episode_limit=settings["time_limit"],
        reset=world.reset,
        step=world.step,
        info=lambda: {"seed": seed, "packages": _versions(settings["imports"])},
        close=env.close,
    )


def _require_attribute(env: Any, name: str) -> None:
    if not hasattr(env, name):
        raise SetupError(f"limit_attribute: {type(env).__name__} has no '{name}'")


def _versions(packages: list[str]) -> dict[str, str]:
    from importlib import metadata

    known = {}
    for name in ("gymnasium", *packages):
        try:
            known[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            known[name] = "not installed as a distribution"
    return known
