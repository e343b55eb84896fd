"""200 updates on fixed batches: losses stay what they were.

``pytest tests/golden --update-golden`` writes them anew, after a change that was meant
to change them.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import SPEC, random_batch, small_algo

from rolemarl_jax.learners import make_learner

STORED = Path(__file__).parent / "losses.json"
UPDATES, EVERY = 200, 20
OVER = {
    "acorm": {"role": {"contrastive_every": 10}},
    "pqn_qmix": {"minibatch": 2, "lr": 1e-4},
}


def run(name):
    """Losses at every twentieth update, over ten batches in turn."""
    over = OVER.get(name, {})
    learner = make_learner(small_algo(name, over), SPEC)
    batches = [random_batch(SPEC, B=4, seed=i, lengths=[6, 3, 5, 1]) for i in range(10)]
    batches = jax.tree.map(lambda *x: jnp.stack(x), *batches)

    def update(state, t):
        batch = jax.tree.map(lambda x: x[t % 10], batches)
        key = jax.random.fold_in(jax.random.key(1), t)
        out = learner.update(state, batch, t, key)
        return out.state, out.metrics

    def train(key):
        return jax.lax.scan(update, learner.init(key), jnp.arange(UPDATES))[1]

    metrics = jax.jit(train)(jax.random.key(0))
    kept = ("loss_td", "loss_contrastive", "grad_norm", "q_taken", "target")
    return {
        key: [float(x) for x in np.asarray(value)[EVERY - 1 :: EVERY]]
        for key, value in sorted(metrics.items())
        if key.split("/")[1] in kept
    }


@pytest.mark.parametrize(
    "name", ["qmix", pytest.param("acorm", marks=pytest.mark.slow), "pqn_qmix"]
)
def test_golden_run(name, request):
    got = run(name)
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}
    if request.config.getoption("--update-golden"):
        STORED.write_text(json.dumps({**stored, name: got}, indent=1) + "\n")
        return
    assert set(got) == set(stored[name])
    for key, values in stored[name].items():
        np.testing.assert_allclose(got[key], values, rtol=1e-4, err_msg=key)
    assert len(set(got["td/loss_td"])) == UPDATES // EVERY, "nothing was learned"
