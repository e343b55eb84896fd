"""What is learned through the bridge is better than chance, by far."""

import numpy as np
import pytest

from experiments import evaluate
from experiments import run as command
from experiments.door import compose, resume
from rolemarl_jax.bridge import opening
from rolemarl_jax.bridge.collect import Collector
from rolemarl_jax.bridge.matches import greedy
from rolemarl_jax.run import session
from rolemarl_jax.run_config import RunConfig

EPISODES = 300
SETTINGS = """
algo=qmix env=gymma env.id=Foraging-5x5-2p-1f-v3 env.time_limit=25 run=debug
algo.gamma=0.95 algo.target.tau=0.02 algo.role.recurrent=false
algo.epsilon.finish=0.1 algo.epsilon.steps=8000
replay.episodes=1000 replay.mean_length=25 replay.batch=32
bridge.workers=4 bridge.max_wait_ms=5 bridge.updates_per_episode=4
total_steps=16000 log_every=4000 eval.every=8000 checkpoint.every=16000
"""


def by_chance(cfg: RunConfig) -> float:
    """Mean return of random play, in the evaluation that the policy gets too."""
    import envs

    g = np.random.default_rng(0)

    def random(_, seen, *__):
        return (g.random(seen.avail.shape) * seen.avail).argmax(-1)

    with opening.opened(cfg, envs.make(cfg.env)) as pool:
        played = greedy(Collector(pool, 0.005), random, None, EPISODES)
    return float(np.mean([one.reward.sum() for one in played]))


@pytest.mark.slow
def test_qmix_learns_to_forage(tmp_path, monkeypatch):
    """The margin is eight standard errors of the difference, or more."""
    pytest.importorskip("lbforaging")
    monkeypatch.setattr(session, "draw", lambda _: None)
    words = [*SETTINGS.split(), f"run_dir={tmp_path / 'run'}"]
    cfg = resume.resolve(compose.composed(words))
    command.train(cfg)
    learned = evaluate.play(cfg, EPISODES, None)["seeds"][0]["return"]
    chance = by_chance(cfg)
    print(f"random {chance:.3f}, learned {learned:.3f}")
    assert learned > chance + 0.3
