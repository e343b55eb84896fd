"""Every number has bounds; what cannot be is refused at the door."""

import copy
import importlib
import math
import re
from functools import reduce
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import envs
from envs import smax
from experiments.door import cli, compose, devices, resume
from rolemarl_jax import members
from rolemarl_jax.bridge.config import BridgeConfig
from rolemarl_jax.config import (
    ConfigError,
    Count,
    Finite,
    Natural,
    build,
    config,
    parse_bytes,
)
from rolemarl_jax.disk.rundir import leaves
from rolemarl_jax.learners import make_learner, qmix
from rolemarl_jax.run_config import RunConfig
from rolemarl_jax.types import Remote

REPO = Path(__file__).resolve().parents[2]
# The fixture `elsewhere` may serve all examples.
FUZZ = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def records():
    """All records of the project, by module and name."""
    files = [
        path
        for room in ("rolemarl_jax", "envs", "experiments")
        for path in sorted((REPO / room).rglob("*.py"))
        if "\n@config\n" in path.read_text(encoding="utf8")
    ]
    names = [".".join(f.relative_to(REPO).with_suffix("").parts) for f in files]
    modules = [importlib.import_module(name) for name in names]
    return {
        f"{module.__name__}.{name}": cls
        for module in modules
        for name, cls in vars(module).items()
        if hasattr(cls, "__pydantic_validator__") and cls.__module__ == module.__name__
    }


def numbers(kind):
    """The number types inside a field's type, with their bounds."""
    inside = get_args(kind)
    if get_origin(kind) is Annotated and inside[0] in (int, float):
        return [(inside[0], kind)]
    if kind in (int, float):
        return [(kind, kind)]
    return [found for part in inside for found in numbers(part)]


def cases():
    return [
        pytest.param(base, kind, id=f"{record}.{field}")
        for record, cls in records().items()
        for field, hint in get_type_hints(cls, include_extras=True).items()
        for base, kind in numbers(hint)
    ]


def one_field(kind):
    return config(type("One", (), {"__annotations__": {"x": kind}}))


def test_all_records_and_numbers_are_found():
    found = [case.id for case in cases()]
    assert len(records()) >= 40
    assert "rolemarl_jax.learners.qmix.Config.gamma" in found
    assert "rolemarl_jax.run_config.SweepConfig.hypers" in found
    assert "rolemarl_jax.learners.parts.epsilon.EpsilonConfig.steps" in found
    assert numbers(dict[str, tuple[Finite, ...]] | None) == [(float, Finite)]
    assert numbers(float | None) == [(float, float)]


@pytest.mark.parametrize(("base", "kind"), cases())
def test_every_number_has_bounds(base, kind):
    """Also above: more is infinite in float32, or no number at all in int32."""
    refused = {
        int: (-1, 2**31, 0.5, True, math.nan, math.inf),
        float: (math.nan, math.inf, -math.inf, 1e39, True),
    }
    for value in refused[base]:
        with pytest.raises(ConfigError, match=r"one\.x: got .*input should be"):
            build(one_field(kind), {"x": value}, "one")
    assert build(one_field(kind), {"x": 1}, "one").x == 1


@pytest.mark.parametrize(
    ("kind", "value", "got"),
    [(Natural, 2e4, 20000), (Natural, 0.0, 0), (Count, 4.0, 4)],
)
def test_whole_floats_are_whole_numbers(kind, value, got):
    made = build(one_field(kind), {"x": value}, "one").x
    assert made == got and isinstance(made, int)


def test_whole_numbers_on_a_command_line():
    cfg = resume.resolve(compose.composed(["seeds=4.0", "total_steps=2e4"]))
    assert (cfg.seeds, cfg.total_steps) == (4, 20000)
    assert isinstance(cfg.seeds, int) and isinstance(cfg.total_steps, int)


def prepared(cfg):
    """Everything that a run makes before it compiles."""
    world = envs.make(cfg.env)
    if isinstance(world, Remote):
        build(BridgeConfig, cfg.bridge, "bridge")
    else:
        make_learner(cfg.algo, world.spec)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(devices, "add_flags", lambda _: None)
    monkeypatch.setattr(devices, "use_cache", lambda _: None)


def refusal(arguments, capsys):
    """The one message of a command line that is refused with status 2."""
    with pytest.raises(SystemExit) as ended:
        cli.launch(prepared, arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err


NOT_FINITE = {
    "algo.lr=nan": "algo.lr: got nan; input should be a finite number",
    "algo.reward_scale=1e400": "algo.reward_scale: got inf; input should be a finite",
    "algo.optimiser.eps=-inf": "algo.optimiser.eps: got -inf; input should be a finit",
}
NUMBERS = {
    "algo.gamma=1.5": "algo.gamma: got 1.5; input should be less than or equal to 1",
    "algo.target.tau=2": "algo.target.tau: got 2; input should be less than or equal",
    "algo.optimiser.clip=0": "algo.optimiser.clip: got 0; input should be greater tha",
    "algo.epsilon.start=2": "algo.epsilon.start: got 2; input should be less than or",
    "algo.loss_scales.td=-1": "algo.loss_scales.td: got -1; input should be greater",
}
SIZES = {
    "seeds=1e8": "seeds: got 100000000; input should be less than or equal to 1000000",
    "seed=nan": "seed: got nan; input should be a finite number",
    "total_steps=1e400": "total_steps: got inf; input should be a finite number",
    "train.worlds=1e11": "train.worlds: got 100000000000; input should be less than or",
    "sweep.fraction=0": "sweep.fraction: got 0; input should be greater than 0",
    "sweep.hypers.lr=[nan]": "sweep.hypers.lr.0: got nan; input should be a finite",
    "sweep.device_memory=1e400GB": "sweep.device_memory: got '1e400GB'; allowed: for",
}
BRIDGED = {
    "bridge.step_deadline_s=0": "bridge.step_deadline_s: got 0; input should be",
    "bridge.backoff_s=1e9": "bridge.backoff_s: got 1000000000.0; input should be less",
    "bridge.workers=0": "bridge.workers: got 0; input should be greater than or equal",
}


@pytest.mark.parametrize(
    ("first", "faults"),
    [((), NOT_FINITE), ((), NUMBERS), ((), SIZES), (("env=scripted",), BRIDGED)],
)
def test_all_bad_numbers_are_named_at_once(first, faults, capsys):
    text = refusal([*first, *faults], capsys)
    assert all(message in text for message in faults.values())
    assert text.startswith("error: ") and text.count("\n") == len(faults)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("algo.role.hidden=1e11", "algo.role.hidden: got 100000000000; input should"),
        ("algo=qmix algo.role.layers=[1e11]", "algo.role.layers.0: got 100000000000;"),
        ("algo=r3dm algo.role.per_map.default.alpha=nan", "per_map.default.alpha: got"),
        ("algo=r3dm +algo.role.per_map.default.alhpa=1", "did you mean 'alpha'?"),
        ("env=gymma +env.kwargs.x=nan", "env.kwargs.x: got nan; input should be a fi"),
        ("seed=2147483647 seeds=2", "got 2147483647 with seeds=2; allowed: up to 2147"),
        ("seeds=1e6 sweep.hypers.lr=[1,2]", "2 combinations for each of seeds=1000000"),
        ("algo.name=???", "algo.name: got '???'; allowed: a value"),
        ("run_dir=???", "run_dir: got '???'; allowed: a value"),
        ("algo.name=null", "algo.name: got None; input should be a valid string"),
        ("algo.role.name=true", "algo.role.name: got True; known: acorm"),
        ("algo.learner=1.5", "algo.learner: got '1.5' with algo="),
        ("algo.mixer.name={}", "algo.mixer.name: got '{}' with algo=acorm; known: att"),
        ("algo=ippo algo.shaping.name=[]", "algo.shaping.name: got []; known: eoi"),
        ("env.name=[1]", "env.name: got [1]; known: firefighters"),
        ("bridge=-1", "bridge: got '-1', but it is a section; it is empty here"),
        ("env=scripted bridge={}", "but it is a section; set bridge.backoff_max_s"),
        ("++train=null", "train: got None; input should be an object"),
        ("++algo.role=null", "algo.role: got None; input should be an object"),
        ("seed=" + 5000 * "9", "Exceeds the limit (4300 digits)"),
    ],
)
def test_what_cannot_be_is_refused(arguments, message, capsys):
    text = refusal(arguments.split(), capsys)
    assert message in text
    assert text.startswith("error: ") and text.count("\n") == 1


def test_the_last_seed_that_devices_can_count():
    cfg = resume.resolve(compose.composed(["seed=2147483646", "seeds=2"]))
    devices.prepare_devices(cfg)


@pytest.mark.parametrize("text", ["1e400GB", "1e18", "0", "", "GB", "nan", "-1GB"])
def test_amounts_of_memory_that_are_none(text):
    with pytest.raises(ConfigError, match=r"device_memory: got .*less than 1e\+18"):
        parse_bytes(text)


@pytest.mark.parametrize("env", compose.groups()["env"])
def test_every_world_of_the_configuration_is_allowed(env):
    prepared(resume.resolve(compose.composed([f"env={env}", "algo=vdn"])))


BASE = compose.composed(["run_dir=x"]).values
KEYS = sorted(key for key, _ in leaves(BASE))
TYPED = st.one_of(
    st.floats().map(str),
    st.sampled_from(["null", "true", "[]", "{}", "{a: 1}", "???", "", "1e999", "${a}"]),
    st.text("ab1.-_[{,:'\"$ ", max_size=6),
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
VALUES = st.recursive(
    PLAIN, lambda v: st.lists(v) | st.dictionaries(st.text(max_size=4), v), max_leaves=4
)


def allowed_or_refused(make):
    """A record, or a message; never another exception."""
    try:
        assert isinstance(make(), RunConfig)
    except ConfigError as error:
        assert str(error)


@given(st.sampled_from(["", "+", "++", "~"]), st.sampled_from(KEYS), TYPED)
@settings(FUZZ, max_examples=20)
def test_any_command_line_is_allowed_or_refused(sign, key, value):
    line = ["run_dir=x", f"{sign}{key}={value}"]
    allowed_or_refused(lambda: resume.resolve(compose.composed(line)))


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
@settings(FUZZ, max_examples=300)
def test_any_values_are_allowed_or_refused(changes):
    values = copy.deepcopy(BASE)
    for key, value in changes.items():
        *parents, last = key.split(".")
        reduce(dict.__getitem__, parents, values)[last] = value

    def make():
        cfg = build(RunConfig, values, "")
        members.check_count(cfg)
        build(qmix.Config, cfg.algo, "algo")
        build(smax.Config, cfg.env, "env")
        return cfg

    allowed_or_refused(make)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("sweep.hypers.lr=1e-3", "hypers.lr: got 0.001; .* array; write \\[0.001\\]"),
        (
            "sweep.device_memory=true",
            "device_memory: got True; input should be a valid",
        ),
    ],
)
def test_what_a_sweep_is_given_in_a_wrong_form(typed, told, capsys):
    assert re.search(told, refusal([typed], capsys))
