"""How many seeds fit, and chunks of those that do not."""

import errno
from dataclasses import replace
from pathlib import Path

import jax
import pytest
from probes import worlds
from support import run_config, seeds_in, small_algo, write_chunk

from experiments.door import compose, resume
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import rundir
from rolemarl_jax.learners import make_learner
from rolemarl_jax.program.compiled import compile_program
from rolemarl_jax.program.program import make_program
from rolemarl_jax.report import summary
from rolemarl_jax.sweep import chunks, fit

ENV = worlds.probe(worlds.KINDS.index("match"))
NO_SHAPES = None  # nothing was saved that would need them


def config(algo="qmix", **changes):
    cfg = run_config(small_algo(algo), 40, {"replay": {"episodes": 512, "batch": 8}})
    return replace(cfg, sweep=replace(cfg.sweep, **changes))


@pytest.mark.parametrize(
    ("text", "count"), [("80GB", 80 * 10**9), ("512 MB", 512 * 10**6), ("1.5e3", 1500)]
)
def test_bytes(text, count):
    assert fit.parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-3GB", "80 GiB", "0", "1.2.3MB"])
def test_no_bytes(text):
    with pytest.raises(ConfigError, match=r"sweep\.device_memory"):
        fit.parse_bytes(text)


@pytest.mark.parametrize("typed", ["1.5e9", "1500000000", "1.5GB"])
def test_bytes_on_a_command_line(typed, tmp_path):
    words = [f"sweep.device_memory={typed}", f"run_dir={tmp_path}/a"]
    cfg = resume.resolve(compose.composed(words))
    assert fit.parse_bytes(cfg.sweep.device_memory) == 15 * 10**8


def test_memory_of_a_machine_is_what_its_group_leaves(tmp_path, monkeypatch):
    def told(name, text):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    monkeypatch.setattr(fit, "GROUPS", [(told("max", "max\n"), told("now", "1\n"))])
    monkeypatch.setattr(fit, "MEMINFO", told("info", "MemAvailable:    5000 kB\n"))
    assert fit.memory_bytes(None) == 5000 * 1024
    told("max", "3000000\n")
    assert fit.memory_bytes(None) == 2999999
    monkeypatch.setattr(fit, "GROUPS", [(str(tmp_path / "absent"), "absent")])
    monkeypatch.setattr(fit, "MEMINFO", "absent")
    assert fit.memory_bytes(None) > 10**6


def test_a_seed_that_does_not_fit_is_refused_before_anything_is_compiled(monkeypatch):
    cfg = config(device_memory="20KB", fraction=1.0)
    monkeypatch.setattr(fit, "compile_program", lambda *_: pytest.fail("compiled"))
    with pytest.raises(ConfigError, match=r"replay\.episodes: got 512; a seed keeps"):
        chunks.plan(cfg, ENV, make_learner(cfg.algo, ENV.spec))


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["qmix", "pqn_qmix"])
def test_plan_holds_for_a_program_of_its_size(algo):
    """What is planned for a chunk is what its program is compiled to need."""
    room = {"device_memory": "2MB", "fraction": 1.0}
    cfg = config(algo, **room)
    learner = make_learner(cfg.algo, ENV.spec)
    plan = fit.make_plan(cfg, ENV, learner)
    assert 1 < plan.chunk < 40 and plan.chunk * plan.chunks >= 40
    program = make_program(
        replace(cfg, seeds=plan.chunk), ENV, learner, jax.devices()[:1]
    )
    peak = compile_program(program, cfg).peak
    assert peak == pytest.approx(plan.fixed + plan.chunk * plan.seed, rel=0.05)
    assert peak <= 1.05 * plan.memory
    with pytest.raises(ConfigError, match=r"sweep\.chunk: got 39"):
        fit.make_plan(config(algo, chunk=39, **room), ENV, learner)


def test_memory_is_asked_about_where_states_are_a_large_part_of_it():
    """Of all seeds, or of the chunk that was chosen by hand."""

    def asked(**changes):
        return fit.needs_plan(config(device_memory="100MB", **changes), 10**6)

    assert asked() and asked(chunk=39)
    assert not asked(chunk=20)
    assert asked(chunk=1, plan_only=True)


def test_a_chunk_that_a_run_was_planned_with_stays(monkeypatch):
    monkeypatch.setattr(fit, "needs_plan", lambda *_: pytest.fail("planned again"))
    cfg = replace(config(chunk=39, device_memory="2MB"), resume=True)
    assert chunks.plan(cfg, ENV, make_learner(cfg.algo, ENV.spec)) == cfg


def trainer(log, fits=99):
    """Stands in for a run: more than ``fits`` seeds are too many."""

    def train(cfg):
        log.append((cfg.seed, cfg.seeds, cfg.resume))
        if cfg.seeds > fits:
            (Path(cfg.run_dir) / "checkpoints").mkdir(parents=True)
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        write_chunk(cfg)

    return train


def test_chunks_are_run_once(tmp_path):
    cfg = replace(config(chunk=3), run_dir=str(tmp_path), seeds=7, seed=10)
    log: list = []
    chunks.run(cfg, trainer(log), lambda: None, NO_SHAPES)
    assert log == [(10, 3, False), (13, 3, False), (16, 1, False)]
    assert seeds_in(cfg.run_dir) == list(range(10, 17))
    chunks.run(cfg, trainer(log), lambda: None, NO_SHAPES)
    assert len(log) == 3
    more = replace(cfg, total_steps=2 * cfg.total_steps)
    with pytest.raises(FileExistsError):  # the stand-in's: it was asked to resume
        chunks.run(more, trainer(log), lambda: None, NO_SHAPES)
    assert log[-1] == (10, 3, True)


def test_a_summary_that_was_not_written_any_more_is_made_by_who_resumes(tmp_path):
    cfg = replace(config(chunk=3), run_dir=str(tmp_path), seeds=4, seed=0)
    chunks.run(cfg, trainer([]), lambda: None, NO_SHAPES)  # killed before it was there
    calls = []

    def merged():
        calls.append(seeds_in(tmp_path))
        whole = {"env_steps": cfg.total_steps, "seeds": len(calls[-1])}
        summary.write(tmp_path, whole)

    chunks.run(cfg, trainer([]), merged, NO_SHAPES)
    assert calls == [[0, 1, 2, 3]]
    chunks.run(cfg, trainer([]), merged, NO_SHAPES)
    assert len(calls) == 1
    summary.write(tmp_path, {"env_steps": cfg.total_steps, "seeds": 3})
    chunks.run(cfg, trainer([]), merged, NO_SHAPES)
    assert len(calls) == 2


def test_a_chunk_with_a_damaged_summary_goes_on(tmp_path):
    cfg = replace(config(chunk=1), run_dir=str(tmp_path), seeds=2, seed=0)
    log: list = []
    chunks.run(cfg, trainer(log), lambda: None, NO_SHAPES)
    (tmp_path / "chunks/000001-000001" / rundir.SUMMARY).write_text("{")
    assert not chunks.complete(cfg)
    with pytest.raises(FileExistsError):  # the stand-in's: it was asked to resume
        chunks.run(cfg, trainer(log), lambda: None, NO_SHAPES)
    assert log[-1] == (1, 1, True)


def test_chunks_are_in_order_of_their_seeds(tmp_path):
    for first in (1000000, 999999, 5):
        (tmp_path / "chunks" / f"{first:06d}-{first:06d}").mkdir(parents=True)
    found = [path.name for path in rundir.folders(tmp_path)]
    assert found == ["000005-000005", "999999-999999", "1000000-1000000"]


def test_chunks_that_exceed_the_memory_are_halved(tmp_path):
    cfg = replace(config(chunk=4), run_dir=str(tmp_path), seeds=6, seed=0)
    log: list = []
    chunks.run(cfg, trainer(log, fits=2), lambda: None, NO_SHAPES)
    assert [entry[:2] for entry in log] == [(0, 4), (0, 2), (2, 2), (4, 2)]
    assert seeds_in(cfg.run_dir) == list(range(6))
    chunks.run(cfg, trainer(log, fits=2), lambda: None, NO_SHAPES)
    assert len(log) == 4, "finished halves are known again"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        ValueError("RESOURCE_EXHAUSTED: No space left on device [os_error=28]"),
    ],
)
def test_a_full_disk_is_no_full_memory(tmp_path, error):
    cfg = replace(config(chunk=4), run_dir=str(tmp_path), seeds=4, seed=0)
    begun = []

    def train(part):
        begun.append(part.seeds)
        try:
            raise error
        except Exception as fault:
            raise RuntimeError("RESOURCE_EXHAUSTED: not saved") from fault

    with pytest.raises(ConfigError, match=r"chunks.000000-000003', where the disk"):
        chunks.run(cfg, train, lambda: None, NO_SHAPES)
    assert begun == [4]


def test_a_chunk_that_was_begun_goes_on_and_is_not_removed(tmp_path):
    """Its rows are dropped by whoever holds its folder, and by nobody else."""
    cfg = replace(config(chunk=1), run_dir=str(tmp_path), seeds=1, seed=4)
    part = rundir.create(chunks._chunk_at(cfg, 4, 4))
    (part / rundir.METRICS).write_text("")
    log: list = []
    chunks.run(cfg, trainer(log), lambda: None, NO_SHAPES)
    assert log == [(4, 1, True)]
    assert (part / rundir.CONFIG).is_file()


def test_one_seed_too_many(tmp_path):
    cfg = replace(config(chunk=1), run_dir=str(tmp_path), seeds=2)
    with pytest.raises(ConfigError, match="seed 0 alone"):
        chunks.run(cfg, trainer([], fits=0), lambda: None, NO_SHAPES)
