"""The loop that collects episodes, on a pool without processes."""

from types import SimpleNamespace

import numpy as np
from support import SPEC

from rolemarl_jax.bridge.acting import stack
from rolemarl_jax.bridge.collect import IDLE_WAIT, Collector, Stretch
from rolemarl_jax.bridge.pool.crew import Answer
from rolemarl_jax.bridge.worker import protocol as p


class Pool:
    """Two workers: one shows its first observation, the other never answers."""

    spec = SPEC

    def __init__(self):
        self.slots = [SimpleNamespace(index=i, opening=True) for i in range(2)]
        self.waits, self.answers = [], []

    def idle(self):
        return self.slots

    def begin(self, slot, episode):
        if slot == 0:
            seen = p.Seen(*(x[0] for x in stack(SPEC, 1)))
            header = SimpleNamespace(step=0, flags=0)
            self.answers.append(Answer(slot, episode, header, seen))

    def poll(self, timeout_s):
        self.waits.append(timeout_s)
        answers, self.answers = self.answers, []
        return answers


def test_a_long_wait_for_others_is_cut_into_short_ones():
    """Between them the pool notices deadlines and losses, and the loop its stop."""
    pool, begun, lost = Pool(), [], []

    def begin():
        begun.append(len(begun) + 1)
        return begun[-1]

    def act(seen, ready, fresh):
        return np.zeros((2, SPEC.n_agents), np.int32)

    Collector(pool, max_wait_s=1e6).play(
        Stretch(
            more=lambda: True,
            begin=begin,
            act=act,
            finished=lambda _: None,
            lost=lost.append,
            turn=lambda: None,
            stop=lambda: len(pool.waits) == 5,
        )
    )
    assert len(pool.waits) == 5
    assert max(pool.waits) <= IDLE_WAIT
    assert sorted(lost) == begun == [1, 2]
