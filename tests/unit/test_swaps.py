"""Keys whose values are files: ``algo.learner`` and ``algo.mixer.name``."""

import re

import pytest
from support import load_algo

from experiments.door import cli, devices, resume, swaps
from experiments.door.compose import composed, opened
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import rundir


def algo(words):
    return composed(words.split()).values["algo"]


@pytest.mark.parametrize(
    ("words", "mixer"),
    [
        ("algo=qmix algo.mixer.name=vdn", {"name": "vdn"}),
        ("algo=pqn_acorm algo.mixer.name=none", {"name": "none"}),
        (
            "algo=vdn algo.mixer.name=qmix algo.mixer.embed=8",
            {**load_algo("qmix")["mixer"], "embed": 8},
        ),
        (
            "algo.mixer.name=attention algo=qmix algo.learner=pqn",
            load_algo("pqn_acorm")["mixer"],
        ),
    ],
)
def test_a_mixer_brings_its_keys_along(words, mixer):
    assert algo(words)["mixer"] == mixer


def test_a_learner_brings_its_keys_along():
    fresh = {**algo("algo=vdn algo.learner=pqn"), "name": "pqn_vdn"}
    assert fresh == load_algo("pqn_vdn") and "target" not in fresh
    replayed = {**algo("algo=pqn_vdn algo.learner=qmix"), "name": "vdn"}
    assert replayed == load_algo("vdn") and "slow_target" not in replayed


@pytest.mark.parametrize("name", ["random_role", "unit_type", "acorm", "r3dm"])
def test_a_learner_is_taken_by_whatever_a_preset_collects(name):
    """Of ``run=default`` it makes the file of its name, and with others a run."""
    typed, named = (
        composed(words.split()).values
        for words in (f"algo={name} algo.learner=pqn", f"algo=pqn_{name}")
    )
    assert typed == {**named, "algo": {**named["algo"], "name": name}}
    for run in ("debug", "paper"):
        cfg = composed([f"algo={name}", "algo.learner=pqn", f"run={run}"]).values
        assert cfg["replay"]["sampling"] == "fresh" and cfg["train"]["worlds"] == 64


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("algo=qmix algo.mixer.name=vnd", "algo.mixer.name: got 'vnd' with algo=qmix"),
        ("algo=qmix algo.mixer.name=vdn algo.mixer.embed=8", "known: algo.mixer.name"),
        ("algo=mappo algo.mixer.name=vdn", "algo.mixer.name: unknown key"),
        ("algo=qmix +algo.mixer.name=vdn", "is there already; write algo.mixer.name="),
        ("algo=qmix algo.learner=pq", "algo.learner: got 'pq' with algo=qmix; known"),
        ("algo=mappo algo.learner=pqn", "got 'pqn' with algo=mappo; known: mappo"),
    ],
)
def test_a_file_that_is_not_there(words, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        composed(words.split())


def test_several_jobs():
    asked = ["algo.mixer.name=vdn,qmix", "algo.learner=pqn", "algo.mixer.name=vdn,no"]
    marked = ["algo/mixer=vdn,qmix", "algo/learner@algo=pqn", asked[2]]
    assert opened(asked) == marked


def test_words_are_what_was_typed_again():
    for word in (
        "algo.learner=pqn",
        "algo.mixer.name=vdn,none",
        "algo.lr=1",
        "seeds=2",
    ):
        assert [swaps.typed_as(one) for one in opened([word])] == [word]


def test_a_run_goes_on_with_its_own_learner_and_mixer(tmp_path, monkeypatch, capsys):
    """What Hydra was given instead of the keys counts as these keys."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(devices, "add_flags", lambda _: None)
    monkeypatch.setattr(devices, "use_cache", lambda _: None)
    rundir.create(resume.resolve(composed(["algo=vdn", "run_dir=a"])))
    asked = ["algo=vdn", "algo.learner=pqn", "algo.mixer.name=none"]
    with pytest.raises(SystemExit):
        cli.launch(lambda _: None, ["run_dir=a", "resume=true", *asked])
    told = capsys.readouterr().err
    assert "algo.learner: stored 'qmix', now 'pqn'" in told
    assert "algo.mixer.name: stored 'vdn', now 'none'" in told
