"""A sweep of several jobs: one that is refused or fails does not end the others."""

import sys

import pytest

from experiments.door import cli, devices, jobs, overrides
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import rundir
from rolemarl_jax.report import loggers

STOPPED = 130
# Hydra would configure logging anew, and with it close streams that pytest replaced.
QUIET = ("hydra/hydra_logging=none", "hydra/job_logging=none")
SWEEP = ("-m", "run=debug", "hydra.sweep.dir=swept", *QUIET)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["experiments.run"])
    monkeypatch.setattr(jobs, "prepare_devices", lambda _: None)
    monkeypatch.setattr(devices, "prepare_devices", lambda _: None)


def launched(job, *words, check=None):
    """Jobs that began, and the exit status."""
    begun = []

    def noted(cfg):
        begun.append((cfg.algo["name"], cfg.train.worlds))
        job(cfg)

    try:
        cli.launch(noted, [*SWEEP, *words], check)
    except SystemExit as ended:
        return begun, ended.code
    return begun, 0


def fine(cfg):
    pass


def minibatch(cfg):
    if cfg.algo["name"] == "ippo":
        raise ConfigError("algo.minibatch: does not divide")


def test_a_job_that_does_not_finish_leaves_the_others(capsys):
    def job(cfg):
        minibatch(cfg)
        if cfg.algo["name"] == "iql":
            sys.exit(1)
        if cfg.algo["name"] == "vdn":
            raise RuntimeError("out of memory")

    begun, ended = launched(job, "algo=ippo,iql,vdn,qmix")
    assert [name for name, _ in begun] == ["ippo", "iql", "vdn", "qmix"] and ended == 1
    told = capsys.readouterr().err
    assert "does not divide" in told and "RuntimeError: out of memory" in told
    assert "0 (status 2), 1 (status 1), 2 (status 1)\n" in told


def test_all_jobs_are_checked_before_the_first_begins(capsys):
    order = []

    def check(cfg):
        order.append(cfg.train.worlds)
        minibatch(cfg)

    words = ("algo=vdn,ippo", "train.worlds=8,0")
    got = launched(lambda _: order.append("begun"), *words, check=check)
    assert order == [8, 8, "begun"] and got == ([("vdn", 8)], 2)
    told = capsys.readouterr().err
    assert told.startswith("error: job 1 (run=debug algo=vdn train.worlds=0)\ntrain.wo")
    assert told.count("does not divide") == 1
    assert told.endswith(": 1 (status 2), 2 (status 2), 3 (status 2)\n")


def test_learners_and_mixers_may_be_swept():
    made = []

    def job(cfg):
        made.append((cfg.algo["learner"], cfg.algo["mixer"], "target" in cfg.algo))

    words = ("algo=vdn", "algo.learner=qmix,pqn", "algo.mixer.name=vdn,none")
    assert len(launched(job, *words)[0]) == 4
    assert made == [
        (learner, {"name": mixer}, learner == "qmix")
        for learner in ("qmix", "pqn")
        for mixer in ("vdn", "none")
    ]


def test_a_request_to_stop_ends_the_sweep():
    def stop(cfg):
        sys.exit(STOPPED)

    begun, status = launched(stop, "algo=vdn,iql")
    assert (len(begun), status) == (1, STOPPED)


def test_nothing_begins_where_nothing_can(tmp_path, capsys):
    assert launched(fine, "train.worlds=0,-1") == ([], 2)
    assert launched(fine, "algo=vdn,iql", "run_dir=x")[0] == [("vdn", 8)]
    assert "run_dir: got 'x', which job 0 has" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sedes=4", "lr=1"), "lr: unknown key; .*\nsedes: unknown key"),
        (("seeds",), "'seeds': got no key=value"),
        (("algo=acrom,qmix",), "algo: got 'acrom'; known"),
        (("--seeds=4",), "'--seeds=4': unknown flag"),
        (("+seeds=3",), "seeds: is there already; write seeds=3"),
        (("~sedes",), "sedes: unknown key"),
        (("+algo=vdn",), r"algo: got '\+algo'; a file is chosen as algo="),
        (("run_dir=a b(",), "run_dir: got 'a b\\(', which is no value"),
        (("sweep.hypers=[1\\,2]",), "hypers: got .* but it is a section; set sweep"),
        (("replay.rows=${nothing.there}",), "replay.rows: .*nothing.there"),
        (("bridge.workers=2",), "'bridge' is empty here, it belongs to worlds in"),
    ],
)
def test_messages_are_ours_in_any_order(words, message, capsys):
    told = []
    for line in (words, words[::-1]):
        assert launched(fine, *line) == ([], 2)
        told.append(capsys.readouterr().err)
    assert told[0] == told[1]
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(told[0])


def test_words_of_a_command_line():
    line = ["-m", "a=1", "--cfg", "job", "--info", "b=2", "--info", "all", "-p", "x"]
    assert overrides.words(line) == ["a=1", "b=2"]
    assert overrides.jobs(["a=1,2", "b=x", "c=range(2)"]) == [
        ["a=1", "b=x", "c=0"],
        ["a=1", "b=x", "c=1"],
        ["a=2", "b=x", "c=0"],
        ["a=2", "b=x", "c=1"],
    ]


def test_the_jobs_are_compared_at_the_end(capsys, tmp_path):
    def job(cfg):
        row = {"seed": 0, "env_steps": 5, "split": "test", "win_rate": 0.5}
        row["return"] = 1.0
        logger = loggers.jsonl(rundir.create(cfg) / rundir.METRICS)
        logger.write([row] if cfg.algo["name"] != "iql" else [])

    _, ended = launched(job, "algo=vdn,qmix", "run_dir=runs/${algo.name}")
    told = capsys.readouterr().out
    assert ended == 0 and "| vdn " in told and "| qmix " in told
    assert "-m experiments.plot 'runs=[runs/vdn,runs/qmix]'" in told
    _, ended = launched(fine, "algo=vdn,qmix", "run_dir=other/${algo.name}")
    assert ended == 0 and "|" not in capsys.readouterr().out
