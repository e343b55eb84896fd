"""Who trains which seeds, and what becomes of a sweep that several processes share."""

from dataclasses import replace

import pytest
from support import run_config, seeds_in, small_algo, write_chunk

from experiments.door import compose, resume
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import rundir
from rolemarl_jax.report import summary
from rolemarl_jax.sweep import chunks, hosts, shares

ALGO = small_algo("iql")
NO_SHAPES = None  # nothing was saved that would need them


def config(run_dir, seeds=7, **sweep):
    cfg = run_config(ALGO, seeds, {"run_dir": str(run_dir)})
    return replace(cfg, seed=10, sweep=replace(cfg.sweep, **sweep))


def settle(cfg):
    return shares.settle(cfg, lambda cfg: cfg)


def trainer(log, before=lambda cfg: None):
    """Stands in for a run that ends at once."""

    def train(cfg):
        before(cfg)
        log.append(cfg.seed)
        write_chunk(cfg)

    return train


def test_every_chunk_has_one_process(tmp_path):
    settled = [
        settle(config(tmp_path, chunk=2, processes=3, process=p)) for p in range(3)
    ]
    assert len({str(cfg) for cfg, _ in settled}) == 1
    logs: list[list[int]] = [[], [], []]
    for cfg, share in reversed(settled):
        chunks.run(cfg, trainer(logs[share.process]), lambda: None, NO_SHAPES, share)
        assert chunks.complete(cfg) == (share.process == 0)
    assert logs == [[10, 16], [12], [14]]
    assert seeds_in(tmp_path) == list(range(10, 17))
    stored = rundir.load_config(tmp_path)
    assert (stored.sweep.chunk, stored.sweep.processes) == (2, None)


def test_a_chunk_for_each_process_unless_told_otherwise(tmp_path):
    cfg, share = settle(config(tmp_path, processes=3, process=1))
    assert (cfg.sweep.chunk, share) == (3, (1, 3))


def test_rows_that_come_while_others_are_gathered(tmp_path):
    """A chunk finished between merging and writing the summary is not left out."""
    cfg, _ = settle(config(tmp_path, seeds=2, chunk=1, processes=2, process=0))
    seen = []

    def merged():
        seen.append(seeds_in(tmp_path))
        whole = {"env_steps": cfg.total_steps, "seeds": len(seen[-1])}
        summary.write(tmp_path, whole)
        if len(seen) == 1:
            trainer([])(chunks._chunk_at(cfg, 11, 11))

    chunks.run(cfg, trainer([]), merged, NO_SHAPES, shares.Share(0, 2))
    assert seen == [[10], [10, 11]]


def test_jobs_that_disagree_with_what_was_begun(tmp_path):
    settle(config(tmp_path, processes=2, process=0))
    settle(config(tmp_path, processes=2, process=1, device_memory="1GB"))
    with pytest.raises(ConfigError, match=r"seeds: stored 7, now 6") as error:
        settle(config(tmp_path, seeds=6, processes=2, process=1))
    assert "sweep.chunk: stored 4, now 3" in str(error.value)


def test_jobs_that_go_on_for_longer_may_say_so(tmp_path):
    first, _ = settle(config(tmp_path, processes=2, process=0))
    own = {"processes": 2, "process": 1, "chunk": first.sweep.chunk}
    more = {"total_steps": 2 * first.total_steps, "logger": {"name": "none"}}
    longer = replace(config(tmp_path, **own), resume=True, **more)
    for _ in range(2):  # by whoever comes first, and then as it is stored
        chosen, share = settle(longer)
        assert share == (1, 2) and chosen.total_steps == 2 * first.total_steps
        assert rundir.load_config(tmp_path).total_steps == chosen.total_steps
    with pytest.raises(ConfigError, match="total_steps: stored"):
        settle(replace(config(tmp_path, **own), total_steps=7))
    with pytest.raises(ConfigError, match="seeds: stored 7, now 6"):
        settle(replace(longer, seeds=6))


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"processes": 8, "process": 0}, r"sweep\.processes: got 8; .*seeds=7"),
        ({"processes": 2}, r"sweep\.process: got null"),
        ({"process": 2}, r"sweep\.processes: got null"),
        ({"processes": 2, "process": 2}, r"sweep\.process: got 2; allowed: 0 to 1"),
        ({"coordinator": "here"}, r"sweep\.coordinator: got 'here'; .*host:port"),
        ({"coordinator": "here:1", "processes": 2}, r"sweep\.process: got null"),
    ],
)
def test_keys_that_do_not_fit(tmp_path, sweep, message):
    with pytest.raises(ConfigError, match=message):
        settle(config(tmp_path, **sweep))
    assert list(tmp_path.iterdir()) == []


def test_auto_outside_a_cluster(tmp_path):
    with pytest.raises(ConfigError, match=r"sweep\.coordinator: got 'auto'.*Slurm"):
        settle(config(tmp_path, coordinator="auto"))


def test_a_shared_run_needs_a_directory_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def resolve(*words):
        return resume.resolve(compose.composed(words))

    two = ("sweep.processes=2", "sweep.process=1")
    with pytest.raises(ConfigError, match="run_dir: got null"):
        resolve(*two)
    settle(resolve(*two, "run_dir=a"))
    assert resolve(*two, "run_dir=a").sweep.process == 1
    with pytest.raises(ConfigError, match="holds a run already"):
        resolve(*two, "sweep.coordinator=here:1", "run_dir=a")
    resumed = resolve(*two, "sweep.coordinator=here:1", "run_dir=a", "resume=true")
    assert (resumed.resume, resumed.sweep.coordinator) == (True, "here:1")


def meeting(process, answers):
    """A meeting whose other side has answered already."""

    def exchange(topic, value):
        found = list(answers[topic])
        found.insert(process, value)
        return found

    return hosts.Meeting(process, 2, exchange)


def test_hosts_that_disagree(tmp_path):
    cfg = config(tmp_path, coordinator="here:1", processes=2, process=1)
    other = {**shares._plain(shares._shared(cfg, None)), "seeds": 8}
    with pytest.raises(ConfigError, match=r"seeds: process 0 has 8, process 1 7"):
        shares._agreed(cfg, meeting(1, {"config": [other]}), lambda cfg: cfg)


def test_the_smallest_host_decides_and_faults_are_shared(tmp_path):
    cfg = config(tmp_path, coordinator="here:1", processes=2, process=0)
    same = shares._plain(shares._shared(cfg, None))
    nothing = [{"value": None}]
    answers = {"config": [same], "begin": nothing, "see": nothing}
    answered = meeting(0, {**answers, "chunk": [{"value": 2}]})
    chosen = shares._agreed(cfg, answered, lambda cfg: cfg)
    assert chosen.sweep.chunk == 2 and rundir.load_config(tmp_path) == chosen
    bad = {**answers, "see": [{"error": "run_dir: not seen (process 1)"}]}
    with pytest.raises(ConfigError, match="not seen"):
        faulty = meeting(0, {**bad, "chunk": [{"value": 2}]})
        shares._agreed(cfg, faulty, lambda cfg: cfg)
