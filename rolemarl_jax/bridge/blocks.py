"""On-policy training: blocks of whole lanes, each a stream of finished episodes.

A lane takes one episode after another until it holds its share of the block's steps.
The last one may be as long as the time limit, so lanes are as long as that allows, and
padded where it was shorter. So every step that was played is learnt from once, whatever
its place in its episode, and nothing of an episode that was lost ever is.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rolemarl_jax.bridge.collect import Episode
from rolemarl_jax.bridge.training import Steps, require_length
from rolemarl_jax.config import ConfigError, RunConfig
from rolemarl_jax.experience.memory import check_minibatch
from rolemarl_jax.learners.parts.learner import Learner
from rolemarl_jax.types import EnvSpec, Observation, Trajectory


class Blocks:
    """Collects a block with one policy, updates on it, and begins the next.

    Attributes:
        steps: the updates.
        memory: nothing, a block is used once.
    """

    def __init__(
        self, cfg: RunConfig, steps: Steps, spec: EnvSpec, learner: Learner
    ) -> None:
        worlds, per_update = cfg.train.worlds, cfg.train.steps_per_update
        if per_update % worlds:
            raise ConfigError(
                f"train.steps_per_update: got {per_update}; allowed: multiples of "
                f"train.worlds={worlds}"
            )
        check_minibatch(cfg, learner)
        self.steps, self.memory = steps, None
        self._learner, self._limit = learner, spec.episode_limit
        self._share = per_update // worlds
        self._ticks = self._share - 1 + spec.episode_limit
        require_length(cfg, (1 + steps.pretraining) * worlds * self._ticks)
        self._lanes: list[list[Episode]] = [[] for _ in range(worlds)]
        self._filling: dict[int, int] = {}

    def open(self) -> bool:
        """Whether a lane waits for another episode."""
        return self._next() is not None

    def begin(self, episode: int) -> None:
        """The episode will go on with the shortest lane that nobody fills."""
        lane = self._next()
        assert lane is not None
        self._filling[episode] = lane

    def lost(self, episode: int) -> None:
        """The lane stays as it was."""
        del self._filling[episode]

    def finished(self, episode: Episode) -> None:
        """Adds a whole episode; a full block is learned from at once."""
        self._lanes[self._filling.pop(episode.id)].append(episode)
        if self.open() or self._filling:
            return
        block = fresh(self._lanes, self._ticks, self._limit, self._carry())
        self.steps.launch(lambda _: block)
        self.steps.wait()
        self._lanes = [[] for _ in self._lanes]

    def turn(self) -> None:
        """Nothing is computed beside acting: it needs the result."""

    def drain(self) -> None:
        """Nothing is left over."""

    def compile(self) -> None:
        """Compiles the update on a block of nothing, which shows whether sizes fit."""
        spec, length = self._learner.spec, self._limit
        empty = Episode(
            id=0,
            worker=0,
            obs=np.zeros((length + 1, spec.n_agents, spec.obs_dim), np.float32),
            state=np.zeros((length + 1, spec.state_dim), np.float32),
            avail=np.ones((length + 1, spec.n_agents, spec.n_actions), bool),
            action=np.zeros((length, spec.n_agents), np.int32),
            reward=np.zeros(length, np.float32),
            terminated=False,
            won=False,
        )
        lane = [empty] * -(-self._share // length)
        block = fresh([lane] * len(self._lanes), self._ticks, length, self._carry())
        self.steps.compile(block)

    def _next(self) -> int | None:
        """The emptiest lane that is neither full nor being filled."""
        length = {
            i: sum(episode.length for episode in lane)
            for i, lane in enumerate(self._lanes)
            if i not in self._filling.values()
        }
        short = [i for i in length if length[i] < self._share]
        return min(short, key=length.__getitem__) if short else None

    def _carry(self) -> Any:
        return self._learner.carry(len(self._lanes))


def fresh(lanes: list[list[Episode]], ticks: int, limit: int, carry: Any) -> Trajectory:
    """A block `[T, B]` from lanes of episodes, each at most T steps long together.

    Args:
        ticks: T. limit: the most steps of an episode; bounds the number of cuts.
        carry: recurrent state at the beginning of an episode.
    """
    columns = [_column(lane, ticks) for lane in lanes]
    steps: dict[str, Any] = jax.tree.map(lambda *x: np.stack(x, axis=1), *columns)
    after, cut = steps.pop("after"), steps["truncated"]
    cuts = np.sort(np.where(cut, np.arange(ticks)[:, None], ticks), axis=0)
    end = np.full((1, len(lanes)), ticks - 1)
    at: Any = np.concatenate([cuts[: 1 + (ticks - 1) // limit], end]).astype(np.int32)
    there = np.minimum(at, ticks - 1), np.arange(len(lanes))
    block = Trajectory(
        **steps,
        carry=carry,
        final=Observation(*(x[there] for x in after)),
        final_at=at,
    )
    return jax.tree.map(jnp.asarray, block)


def _column(lane: list[Episode], ticks: int) -> dict[str, Any]:
    """One lane, padded to ``ticks`` steps that have ended and offer one action.

    Returns:
        Fields of a ``Trajectory`` without the axis of worlds, and ``after``: what was
        seen after each step.
    """
    first = [np.arange(one.length) == 0 for one in lane]
    end = [np.arange(one.length) == one.length - 1 for one in lane]
    last = [np.concatenate([one.action[:1] * 0 - 1, one.action[:-1]]) for one in lane]
    by_itself = [np.full(one.length, one.terminated) for one in lane]
    only_first = np.arange(lane[0].avail.shape[-1]) == 0

    def padded(parts: list[np.ndarray], value: Any = 0) -> np.ndarray:
        whole = np.concatenate(parts)
        out = np.full((ticks, *whole.shape[1:]), value, whole.dtype)
        out[: len(whole)] = whole
        return out

    return {
        "obs": padded([one.obs[:-1] for one in lane]),
        "state": padded([one.state[:-1] for one in lane]),
        "avail": padded([one.avail[:-1] for one in lane], only_first),
        "last_action": padded(last, -1),
        "reset": padded(first, True),
        "action": padded([one.action for one in lane]),
        "reward": padded([one.reward for one in lane]),
        "terminated": padded(
            [e & own for e, own in zip(end, by_itself, strict=True)], True
        ),
        "truncated": padded([e & ~own for e, own in zip(end, by_itself, strict=True)]),
        "mask": padded([np.ones(one.length, np.float32) for one in lane]),
        "after": (
            padded([one.obs[1:] for one in lane]),
            padded([one.state[1:] for one in lane]),
            padded([one.avail[1:] for one in lane], only_first),
        ),
    }
