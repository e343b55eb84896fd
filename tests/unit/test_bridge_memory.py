"""Episodes of the bridge become the batches of native runs."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import SPEC, learner_of, run_config, small_algo

from rolemarl_jax.bridge import blocks, saved, training
from rolemarl_jax.bridge.acting import Actor, make_act, stack
from rolemarl_jax.bridge.collect import Episode
from rolemarl_jax.config import ConfigError
from rolemarl_jax.experience import memory, replay, rollout
from rolemarl_jax.experience.rows import as_rows
from rolemarl_jax.experience.store import observation_store
from rolemarl_jax.learners.parts.learner import UpdateOut
from rolemarl_jax.trees import tree_bytes
from rolemarl_jax.types import Observation

STORE = observation_store(SPEC)
LENGTHS = (5, SPEC.episode_limit, 1, 7, 3, 6)


def episode(number, length, seed=0):
    g = np.random.default_rng([seed, number])
    n, a = SPEC.n_agents, SPEC.n_actions
    avail = (g.random((length + 1, n, a)) < 0.7) | (np.arange(a) == 0)
    return Episode(
        id=number,
        worker=0,
        obs=g.normal(size=(length + 1, n, SPEC.obs_dim)).astype(np.float32),
        state=g.normal(size=(length + 1, SPEC.state_dim)).astype(np.float32),
        avail=avail,
        action=np.where(avail[:-1], g.random((length, n, a)), -1)
        .argmax(-1)
        .astype(np.int32),
        reward=g.normal(size=length).astype(np.float32),
        terminated=length < SPEC.episode_limit,
        won=False,
    )


@pytest.mark.parametrize(
    "flags", [((), ()), ((0, 3, 6), ()), ((), (5, 4, 1)), (range(7), range(6))]
)
def test_what_was_seen_is_kept_without_loss(flags):
    """Whatever columns are flags; and a step takes the bytes that it should."""
    of_obs, of_state = (tuple(sorted(x)) for x in flags)
    spec = dataclasses.replace(SPEC, obs_flags=of_obs, state_flags=of_state)
    store, g = observation_store(spec), np.random.default_rng(3)
    n, a = spec.n_agents, spec.n_actions
    obs, state = g.normal(size=(n, spec.obs_dim)), g.normal(size=spec.state_dim)
    obs[:, list(of_obs)] = g.integers(0, 2, (n, len(of_obs)))
    state[list(of_state)] = g.integers(0, 2, len(of_state))
    seen = Observation(np.float32(obs), np.float32(state), g.random((n, a)) < 0.5)
    kept = store.encode(seen)
    for x, y in zip(seen, store.decode(kept), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
    floats = n * (spec.obs_dim - len(of_obs)) + spec.state_dim - len(of_state)
    flagged = n * a + n * len(of_obs) + len(of_state)
    assert tree_bytes(store.form) == 4 * floats + -(-flagged // 8)
    assert jax.tree.map(lambda x: x.shape, store.form) == jax.tree.map(
        lambda x: x.shape, kept
    )


EPISODES = [episode(i, length) for i, length in enumerate(LENGTHS, 1)]


def replay_config(sampling):
    over = {"sampling": sampling, "batch": 3, "rows": 3, "row_length": 6}
    over |= {"episodes": 8, "mean_length": 8, "store": "observations"}
    return run_config(small_algo("qmix"), over={"replay": over})


def block_of(episodes):
    """The same episodes as ticks of one native world."""
    seen = [
        Observation(*(np.concatenate([getattr(e, k)[cut] for e in episodes])[:, None]
                      for k in ("obs", "state", "avail")))
        for cut in (slice(None, -1), slice(1, None))
    ]  # fmt: skip
    stored = [jax.vmap(jax.vmap(STORE.encode))(one) for one in seen]
    end = np.concatenate([np.arange(e.length) == e.length - 1 for e in episodes])
    by_itself = np.concatenate([np.full(e.length, e.terminated) for e in episodes])
    return replay.Block(
        *stored,
        action=np.concatenate([e.action for e in episodes])[:, None],
        reward=np.concatenate([e.reward for e in episodes])[:, None],
        terminated=(end & by_itself)[:, None],
        truncated=(end & ~by_itself)[:, None],
    )


@pytest.mark.parametrize("sampling", ["episodes", "filled"])
@pytest.mark.parametrize("rounds", [1, 3])
def test_inserted_episodes_sample_like_native_ones(sampling, rounds):
    cfg = replay_config(sampling)
    kept = replay.make_replay(cfg.replay, SPEC, STORE, 1)
    ours = training.make_kept(cfg, SPEC)  # with an axis of one seed
    native, bridged = kept.init(), ours.init()
    insert = jax.jit(ours.insert)
    for _ in range(rounds):  # the third round has overwritten the first
        native = kept.add(native, jax.tree.map(jnp.asarray, block_of(EPISODES)))
        for one in EPISODES:
            bridged = insert(bridged, training.padded(one, SPEC.episode_limit))
    for a, b in zip(jax.tree.leaves(native), jax.tree.leaves(bridged), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b[0])
    batch = ours.sample(bridged, jax.random.key(3))
    assert batch.mask.sum() > 6


def test_one_compilation_serves_native_and_bridged_batches():
    """The update of a native replay and of a bridge is one jitted function."""
    cfg = replay_config("episodes")
    learner = learner_of("qmix", SPEC, {"role": {"hidden": 8}})
    update = learner.update
    native = memory.make_memory(merge_worlds(cfg), learner, STORE, ticks=1)
    native_state = native.add(native.init(), None, wide_block(EPISODES))
    steps = training.Steps(
        learner, jax.random.key(0), learner.init(jax.random.key(1)), training.Counters()
    )
    bridged = training.Replayed(cfg, steps, SPEC, 1)
    for one in EPISODES:
        bridged.finished(one)
    bridged.drain()
    assert steps.counters.updates == 4  # the third episode filled the batch of 3
    before = update._cache_size()
    assert before == 1
    state, key = learner.init(jax.random.key(1)), jax.random.key(2)
    t = jnp.zeros((), jnp.int32)
    ours = bridged._sample(bridged.memory, key)
    theirs = native.sample(native_state, key)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    same = [
        (a.shape, a.dtype) == (b.shape, b.dtype)
        for a, b in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True)
    ]
    assert all(same)
    update(state, theirs, t, key)
    assert update._cache_size() == before
    for a, b in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
        np.testing.assert_array_equal(a, b)
    a, b = update(state, ours, t, key), update(state, theirs, t, key)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def merge_worlds(cfg):
    return dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, worlds=1))


def wide_block(episodes):
    return jax.tree.map(jnp.asarray, block_of(episodes))


def test_updates_per_episode_do_not_depend_on_the_order_of_arrival():
    for order in (EPISODES, EPISODES[::-1]):
        learner = learner_of("iql", SPEC, {"role": {"hidden": 4}})
        steps = training.Steps(
            learner,
            jax.random.key(0),
            learner.init(jax.random.key(1)),
            training.Counters(),
        )
        trained = training.Replayed(replay_config("episodes"), steps, SPEC, 2)
        for one in order:
            trained.finished(one)
        trained.drain()
        assert steps.counters.updates == 2 * 4
        assert trained.memory.count.tolist() == [len(order)]


def replayed(**sweep):
    cfg = replay_config("episodes")
    cfg = dataclasses.replace(cfg, sweep=dataclasses.replace(cfg.sweep, **sweep))
    learner = learner_of("iql", SPEC, {"role": {"hidden": 4}})
    state = learner.init(jax.random.key(1))
    steps = training.Steps(learner, jax.random.key(0), state, training.Counters())
    return cfg, training.Replayed(cfg, steps, SPEC, 2)


def test_replay_is_stored_and_saved_where_it_lies():
    cfg, trained = replayed()
    before = trained.memory.slots.world.obs.unsafe_buffer_pointer()
    trained.finished(EPISODES[0])
    assert trained.memory.slots.world.obs.unsafe_buffer_pointer() == before
    keeps = dataclasses.replace(cfg.checkpoint, replay=True)
    cfg = dataclasses.replace(cfg, checkpoint=keeps)
    parts = saved.parts(cfg, trained.steps.latest, trained.memory)
    assert all(x.shape[0] == 1 for x in jax.tree.leaves(parts))
    assert parts["replay"] is trained.memory


def test_a_replay_that_does_not_fit_is_refused_with_its_bytes():
    _, trained = replayed(device_memory="700MB")
    room = training.SAVING + tree_bytes(trained.memory) // 2  # of 8 episodes
    with pytest.raises(ConfigError) as error:
        replayed(device_memory=str(room), fraction=1.0)
    said = str(error.value)
    assert said.startswith("replay.episodes: got 8; a seed keeps 0.54 GB, 0.00 GB")
    assert said.endswith("allowed: up to 4 episodes")


def test_pretraining_comes_first_and_counts_its_own_updates():
    learner = learner_of("iql", SPEC, {"role": {"hidden": 4}})
    calls = []

    def fake(name):
        def update(state, batch, t, key):
            calls.append((name, int(t)))
            return UpdateOut(state, {"loss": jnp.ones(())}, jnp.ones((), bool))

        return update

    steps = training.Steps(
        learner, jax.random.key(0), learner.init(jax.random.key(1)), training.Counters()
    )
    # Where nothing is asked of a stage (pretrain_contrastive=0) it makes nothing.
    counts = {"nothing": 0, "models": 2, "roles": 0, "train": None}
    steps._stages = [(name, count, fake(name)) for name, count in counts.items()]
    assert steps.stage == "warmup"
    told = []
    for _ in range(4):
        steps.launch(lambda _: None)
        told.append(steps.stage)
    assert calls == [("models", 0), ("models", 1), ("train", 0), ("train", 1)]
    assert told == ["models", "train", "train", "train"]
    assert steps.counters == training.Counters(4, 2, 4)
    assert steps.report() == {"loss": 1.0}


def test_whoever_is_ready_acts_and_the_others_remember():
    """Acting in parts equals acting together, with one compilation."""
    learner = learner_of("qmix", SPEC, {"role": {"hidden": 8}})
    state, workers = learner.init(jax.random.key(0)), 4
    act = make_act(learner, greedy=True)
    together = Actor(learner, workers, act, jax.random.key(1))
    apart = Actor(learner, workers, act, jax.random.key(1))
    g = np.random.default_rng(0)
    everybody = np.ones(workers, bool)
    for step in range(4):
        seen = stack(SPEC, workers)
        seen.obs[:] = g.normal(size=seen.obs.shape)
        fresh = np.full(workers, step == 0)
        expected = together(state, seen, everybody, fresh, 0)
        got = np.zeros_like(expected)
        for part in ([2], [0, 3], [1]):
            ready = np.isin(np.arange(workers), part)
            answer = apart(state, seen, ready, fresh & ready, 0)
            got[part] = answer[part]
        np.testing.assert_array_equal(got, expected)
    assert act._cache_size() == 1


def test_an_episode_that_begins_knows_nothing_of_the_last():
    learner = learner_of("qmix", SPEC, {"role": {"hidden": 8}})
    state = learner.init(jax.random.key(0))
    act = make_act(learner, greedy=True)
    used, new = (Actor(learner, 1, act, jax.random.key(1)) for _ in range(2))
    g, yes, no = np.random.default_rng(0), np.ones(1, bool), np.zeros(1, bool)
    seen = stack(SPEC, 1)
    for step in range(3):
        seen.obs[:] = 10 * g.normal(size=seen.obs.shape)
        used(state, seen, yes, yes if step == 0 else no, 0)
    used(state, seen, yes, yes, 0)
    new(state, seen, yes, yes, 0)
    for a, b in zip(
        jax.tree.leaves(used._agents), jax.tree.leaves(new._agents), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def native_block(lane, limit):
    """One lane as the native reader of blocks has it."""
    whole = memory.FreshState(block_of(lane), rollout.beginning({}, 1, SPEC.n_agents))
    return memory.read_block(jax.tree.map(jnp.asarray, whole), STORE, limit)


def test_a_block_is_what_a_native_block_would_be():
    """Lanes of whole episodes, padded to T, against the native reader of blocks."""
    ticks, limit = 24, SPEC.episode_limit
    lanes = [[EPISODES[1], EPISODES[0]], [EPISODES[2], EPISODES[3], EPISODES[5]]]
    got = blocks.fresh(lanes, ticks, limit, {})
    lengths = [sum(e.length for e in lane) for lane in lanes]
    assert max(lengths) < ticks and min(lengths) < max(lengths)
    per_step = [n for n in got._fields if n not in ("carry", "final", "final_at")]
    for b, (lane, length) in enumerate(zip(lanes, lengths, strict=True)):
        expected = native_block(lane, limit)
        for name in per_step:
            ours, theirs = getattr(got, name)[:length, b], getattr(expected, name)[:, 0]
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), name
            np.testing.assert_array_equal(ours, theirs, err_msg=name)
        cuts = [t for t in expected.final_at[:-1, 0].tolist() if t < length]
        assert [t for t in got.final_at[:-1, b].tolist() if t < ticks] == cuts
        for k in range(len(cuts)):
            for x, y in zip(got.final, expected.final, strict=True):
                np.testing.assert_array_equal(x[k, b], y[k, 0])
        rest = jax.tree.map(lambda x, b=b, n=length: x[n:, b], got._replace(carry=()))
        assert not rest.mask.any() and not rest.obs.any() and not rest.reward.any()
        assert rest.reset.all() and rest.terminated.all() and not rest.truncated.any()
        assert (rest.avail == (np.arange(SPEC.n_actions) == 0)).all()
        assert (rest.last_action == -1).all() and not rest.action.any()
    assert got.truncated.sum() == 1


def test_rows_are_what_native_rows_would_be():
    """The same lanes as rows of value learners; a short one cuts the last episode."""
    lanes = [[EPISODES[1], EPISODES[0]], [EPISODES[2], EPISODES[3], EPISODES[5]]]
    slots = 30
    got = blocks.rows(lanes, slots, {})
    for b, lane in enumerate(lanes):
        whole = memory.FreshState(
            block_of(lane), rollout.beginning({}, 1, SPEC.n_agents)
        )
        whole = jax.tree.map(jnp.asarray, whole)
        steps = whole.block.reward.shape[0]
        native = as_rows(whole.block, whole.agents, STORE, slots - 1 - steps)
        there = steps + len(lane)
        for name, theirs in native._asdict().items():
            if name in ("carry", "ahead"):
                continue
            ours, length = getattr(got, name)[:, b], min(there, len(theirs))
            assert (ours.shape, ours.dtype) == (theirs[:, 0].shape, theirs.dtype), name
            np.testing.assert_array_equal(ours[:length], theirs[:length, 0], name)
        assert not got.mask[there:, b].any()
    assert got.truncated.sum() == 1
    short = blocks.rows(lanes, 8, {})
    np.testing.assert_array_equal(short.reward, got.reward[:7])
    np.testing.assert_array_equal(short.obs, got.obs[:8])


def test_every_step_that_was_played_is_learnt_from_once():
    """Lanes over random episode lengths, shorter and longer than a lane's share."""
    over = {"train": {"worlds": 4, "steps_per_update": 20}, "total_steps": 10_000}
    cfg, drawn = run_config(small_algo("mappo"), over=over), []
    steps = SimpleNamespace(
        launch=lambda draw: drawn.append(draw(None)), wait=lambda: None, pretraining=0
    )
    learner = SimpleNamespace(carry=lambda rows: {}, minibatch=2, experience="fresh")
    made, g = blocks.Blocks(cfg, steps, SPEC, learner), np.random.default_rng(0)
    played = []
    while len(drawn) < 5:
        name = len(played) + 1
        made.begin(name)
        played.append(episode(name, int(g.integers(1, SPEC.episode_limit + 1))))
        made.finished(played[-1])
    learnt = np.concatenate([b.reward[b.mask > 0] for b in drawn])
    expected = np.concatenate([one.reward for one in played])
    np.testing.assert_array_equal(np.sort(learnt), np.sort(expected))


def test_blocks_wait_for_whole_lanes_and_drop_what_was_lost():
    over = {"train": {"worlds": 2, "steps_per_update": 16}}
    cfg = run_config(small_algo("mappo"), over=over)
    drawn = []
    steps = SimpleNamespace(
        launch=lambda draw: drawn.append(draw(None)), wait=lambda: None, pretraining=0
    )
    learner = SimpleNamespace(
        carry=lambda rows: {"h": jnp.zeros((rows, 1))},
        minibatch=2,
        experience="fresh",
    )
    made = blocks.Blocks(cfg, steps, SPEC, learner)
    made.begin(1)
    made.begin(2)
    assert not made.open()
    made.lost(1)
    assert made.open()
    made.begin(3)
    made.finished(episode(3, 8))
    assert not made.open()  # lane 0 is full, lane 1 is being filled
    made.finished(episode(2, 5))
    assert made.open()
    assert not drawn
    made.begin(4)
    made.finished(episode(4, 6))
    (block,) = drawn
    rewards = np.concatenate([episode(2, 5).reward, episode(4, 6).reward])
    np.testing.assert_array_equal(block.reward[:8, 0], episode(3, 8).reward)
    np.testing.assert_array_equal(block.reward[:11, 1], rewards)
    np.testing.assert_array_equal(block.mask.sum(0), [8, 11])
    assert made.open()


@pytest.mark.parametrize(("algo", "most"), [("mappo", 2 * (8 - 1 + 8)), ("iql", 31)])
def test_a_run_that_may_end_before_its_first_update_is_refused(algo, most):
    """Blocks of two lanes of 8 steps and more; three episodes of 8 and their ends."""
    assert SPEC.episode_limit == 8
    over = {"total_steps": most - 1}
    over |= {"train": {"worlds": 2, "steps_per_update": 16}} if algo == "mappo" else {}
    over |= {"replay": {"batch": 3, "episodes": 16}} if algo == "iql" else {}
    two = {"minibatch": 2} if algo == "mappo" else {}
    cfg, learner = run_config(small_algo(algo), over=over), learner_of(algo, SPEC, two)
    state = learner.init(jax.random.key(0))
    steps = training.Steps(learner, jax.random.key(0), state, training.Counters())

    def made(cfg):
        if algo == "mappo":
            return blocks.Blocks(cfg, steps, SPEC, learner)
        return training.Replayed(cfg, steps, SPEC, 1)

    with pytest.raises(ConfigError, match=f"total_steps: got {most - 1}.* {most} env"):
        made(cfg)
    made(dataclasses.replace(cfg, total_steps=most))
