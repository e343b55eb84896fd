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
from rolemarl_jax.config import ConfigError
from rolemarl_jax.experience.memory import check_minibatch
from rolemarl_jax.experience.rows import slots_of
from rolemarl_jax.learners.parts.learner import Experience, Learner
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.types import Batch, EnvSpec, Observation, Trajectory


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
        block = self._block(self._lanes)
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
        self.steps.compile(self._block([lane] * len(self._lanes)))

    def _block(self, lanes: list[list[Episode]]) -> Experience:
        """The lanes as the learner reads them."""
        carry = self._learner.carry(len(lanes))
        if self._learner.experience == "rows":
            return rows(lanes, slots_of(self._ticks, self._learner.ends), carry)
        return fresh(lanes, self._ticks, self._limit, carry)

    def _next(self) -> int | None:
        """The emptiest lane that is neither full nor being filled."""
        length = {
            i: sum(episode.length for episode in lane)
            for i, lane in enumerate(self._lanes)
            if i not in self._filling.values()
        }
        short = [i for i in length if length[i] < self._share]
        return min(short, key=length.__getitem__) if short else None


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


def rows(lanes: list[list[Episode]], slots: int, carry: Any) -> Batch:
    """A block of lanes as rows in which each terminal observation has its slot.

    Args:
        slots: T + 1; what a lane of very many short episodes has beyond is left out.
        carry: recurrent state at the beginning of an episode.
    """
    columns = [_row(lane, slots) for lane in lanes]
    steps = jax.tree.map(lambda *x: np.stack(x, axis=1), *columns)
    seen = ("obs", "state", "avail", "last_action", "reset")
    cut = {name: x if name in seen else x[:-1] for name, x in steps.items()}
    return jax.tree.map(jnp.asarray, Batch(**cut, carry=carry))


def _row(lane: list[Episode], slots: int) -> dict[str, Any]:
    """Fields of a ``Batch`` of one lane, zeros behind its end; T + 1 of each."""
    step = [np.arange(one.length + 1) for one in lane]
    end = [s == one.length - 1 for s, one in zip(step, lane, strict=True)]
    by_itself = [np.full(one.length + 1, one.terminated) for one in lane]

    def padded(parts: list[np.ndarray], value: Any = 0) -> np.ndarray:
        whole = np.concatenate(parts)[:slots]
        out = np.full((slots, *whole.shape[1:]), value, whole.dtype)
        out[: len(whole)] = whole
        return out

    def transitions(parts: list[np.ndarray]) -> np.ndarray:
        return padded([np.concatenate([x, np.zeros_like(x[:1])]) for x in parts])

    return {
        "obs": padded([one.obs for one in lane]),
        "state": padded([one.state for one in lane]),
        "avail": padded([one.avail for one in lane]),
        "last_action": padded(
            [np.concatenate([one.action[:1] * 0 - 1, one.action]) for one in lane], -1
        ),
        "reset": padded([s == 0 for s in step], True),
        "action": transitions([one.action for one in lane]),
        "reward": transitions([one.reward for one in lane]),
        "terminated": padded([e & own for e, own in zip(end, by_itself, strict=True)]),
        "truncated": padded([e & ~own for e, own in zip(end, by_itself, strict=True)]),
        "mask": transitions([np.ones(one.length, np.float32) for one in lane]),
    }


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
