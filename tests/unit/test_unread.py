"""A key that was typed is read, or refused with what would read it."""

import importlib
import pkgutil
import re
from typing import Any

import pytest
from support import REPO

import envs
from envs import bridged
from experiments.door import compose, resume, unread
from experiments.studies import study
from rolemarl_jax import learners, reads, roles
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk.rundir import leaves


def refuse(line):
    new = compose.composed(["run_dir=x", *line.split()])
    unread.refuse(new, resume.resolve(new))


IN_VAIN = {
    "algo=qmix train.seeds_by=map algo.optimiser.decay=1 sweep.hypers.weight_td=[1] "
    "algo.mixer.hypernet_layers=1": {
        "replay.batch=8": "replay.sampling=episodes",
        "train.seeds_together=1": "train.seeds_by=vmap or auto",
        "+bridge.workers=2": "worlds in processes of their own: env=smac",
        "logger.project=mine": "logger=wandb or logger=offline",
        "algo.target.every=9": "algo.target.mode=hard",
        "algo.optimiser.decay_every=9": "algo.optimiser.decay below 1",
        "algo.mixer.hypernet_hidden=9": "algo.mixer.hypernet_layers=2",
        "algo.loss_scales.td=1": "runs without sweep.hypers.weight_td",
    },
    "run=debug algo=r3dm_no_intrinsic algo.target.mode=hard sweep.hypers.lr=[1e-3] "
    "algo.role.contrastive=false algo.role.pretrain_embedding=0": {
        "replay={rows:8,batch:8}": "replay.sampling=filled",
        "algo.target.tau=0.1": "algo.target.mode=soft",
        "algo.lr=1e-3": "runs without sweep.hypers.lr",
        "algo.role.contrastive_lr=1e-3": "algo.role.contrastive=true",
        "algo.role.embedding_lr=1e-3": "algo.role.pretrain_embedding above 0",
        "algo.role.world.lr=1e-3": "algo.role.intrinsic=true",
    },
    "env=scripted algo=ippo algo.role.orthogonal=false": {
        "replay.episodes=100": "replay.sampling=episodes or filled",
        "replay.store=observations": "worlds that are compiled",
        "sweep.chunk=1": "worlds that are compiled",
        "eval.worlds=8": "worlds that are compiled",
        "eval.role_episodes=8": "worlds that are compiled",
        "train.warmup_steps=9": "algorithms that learn from replay",
        "bridge.updates_per_episode=1": "algorithms that learn from replay",
        "bridge.key_file=k": "bridge.listen=tcp://host:port",
        "algo.pretrain_steps=9": "methods with pre-training",
        "algo.role.logits_gain=1": "algo.role.orthogonal=true",
    },
    "env=smacv2 algo=roma algo.role.kl_only=true": {
        "train.worlds=8": "on-policy algorithms, such as algo=mappo",
        "env.reward_negative_scale=1": "env.reward_only_positive=false",
        "env.num_fov_actions=9": "env.conic_fov=true",
        "algo.role.bound=1": "algo.role.kl_only=false",
    },
    "algo=pqn_acorm algo.slow_target=null": {
        "algo.mixer.own_state_encoder=true": "algo.slow_target=0.4",
    },
    "algo=acorm algo.role.similarity=bilinear": {
        "algo.role.contrastive_temperature=1": "algo.role.similarity=cosine",
    },
}


def key_of(word):
    key = word.lstrip("+").partition("=")[0]
    return "replay.rows" if key == "replay" else key


@pytest.mark.parametrize("line", IN_VAIN)
def test_keys_in_vain_are_refused_with_what_reads_them(line):
    with pytest.raises(ConfigError) as refused:
        refuse(" ".join([line, *IN_VAIN[line]]))
    got = str(refused.value).splitlines()
    keys = {key_of(word): mode for word, mode in IN_VAIN[line].items()}
    assert len(got) == len(keys)
    for text, key in zip(got, sorted(keys), strict=True):
        assert text.startswith(f"{key}: got ") and keys[key] in text


@pytest.mark.parametrize(
    "line",
    [
        "run=debug algo=qmix replay.batch=8 replay={episodes:64} algo.mixer.embed=8 "
        "logger=offline logger.project=mine algo.target={mode:hard,every:9}",
        "algo=mappo replay.store=packed train.worlds=8 train.warmup_steps=0 "
        "train.seeds_together=1 sweep.chunk=1 sweep.hypers.actor_lr=[1e-3]",
        "env=scripted bridge.workers=2 replay.rows=8 train.warmup_steps=9",
        "env=scripted algo=ippo train.worlds=8 train.steps_per_update=64",
    ],
)
def test_keys_that_are_read(line):
    refuse(line)


def test_pymarls_numbers_on_the_page_of_qmix_are_read():
    page = (REPO / "docs" / "methods" / "qmix.md").read_text(encoding="utf8")
    (line,) = re.findall(r"PyMARL's:\s+`([^`]+)`", page)
    refuse(f"algo=qmix {line}")
    algo = compose.composed(["algo=qmix", *line.split()]).values["algo"]
    own = algo["lr"], algo["td_lambda"], algo["epsilon"], algo["target"]
    ends = {"start": 1.0, "finish": 0.05, "steps": 50_000, "joint": False}
    assert own == (5e-4, 0.0, ends, {"mode": "hard", "tau": 0.005, "every": 200})
    kind = {"name": "rmsprop", "eps": 1e-5, "clip": 10.0, "decay": 1}
    assert algo["optimiser"] == {**kind, "decay_every": 500}


def test_all_keys_in_vain_are_named_at_once_in_any_order():
    words = ["replay.batch=8", "algo=qmix", "algo.target.every=9"]
    texts = []
    for line in (words, words[::-1]):
        with pytest.raises(ConfigError) as refused:
            refuse(" ".join(line))
        texts.append(str(refused.value))
    assert texts[0] == texts[1] and texts[0].count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", study.names())
@pytest.mark.parametrize("scale", study.SCALES)
def test_studies_type_nothing_in_vain(name, scale, tmp_path):
    found = study.load(name)
    for run in study.runs(found, tmp_path, tmp_path, scale):
        refuse(" ".join(run.arguments[:-1]))


def modules():
    """Every module that may have a table, with the section of its keys."""
    packages = {learners: "algo", roles: "algo.role", envs: "env", bridged: "env"}
    return [
        (importlib.import_module(f"{package.__name__}.{found.name}"), where)
        for package, where in packages.items()
        for found in pkgutil.iter_modules(package.__path__)
        if not found.ispkg
    ]


def test_tables_name_keys_that_there_are():
    shared = {key for key, _ in leaves(compose.composed(["env=scripted"]).values)}
    sections = {key.rpartition(".")[0] for key in shared}
    for row in reads.RUN:
        assert set(row.keys) <= shared | sections
    tables = [(m, getattr(m, "READ_WHEN", ())) for m, _ in modules()]
    assert sum(map(bool, (table for _, table in tables))) >= 7
    for module, table in tables:
        fields: dict[str, Any] = module.Config.__dataclass_fields__
        for row in table:
            assert {key.partition(".")[0] for key in row.keys} <= set(fields)


def test_a_table_of_ones_own():
    table = (reads.ReadWhen(("a", "b.c"), lambda seeds: seeds > 1, "seeds=2"),)
    keys = ["x.a", "x.ab", "x.b", "x.b.c.d", "y.a"]
    assert reads.unread(1, table, "x", keys) == {"x.a": "seeds=2", "x.b.c.d": "seeds=2"}
    assert reads.unread(2, table, "x", keys) == {}
