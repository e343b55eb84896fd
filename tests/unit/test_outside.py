"""Methods and worlds of a user's own project: found by path, refused in plain words."""

import os
import subprocess
import sys
from textwrap import dedent

import pytest
from support import SPEC

import envs
from experiments import configure
from experiments.door import cli, devices, folders, jobs, manual
from rolemarl_jax import roles
from rolemarl_jax.config import ConfigError

CONFIG = """
    from rolemarl_jax.config import config
    from rolemarl_jax.types import Env, EnvSpec, Observation, Step

    @config
    class Config:
        name: str
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A package in the directory that a command runs in; writes its modules."""
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "__init__.py").touch()

    def write(name, text):
        (tmp_path / "theirs" / f"{name}.py").write_text(dedent(text))
        return f"theirs.{name}"

    yield write
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("theirs"):
            del sys.modules[name]


def refused(path, make=lambda name: envs.make({"name": name})):
    with pytest.raises(ConfigError) as error:
        make(path)
    return str(error.value)


def as_method(name):
    return roles.make_method({"name": name}, SPEC)


def test_a_module_that_is_not_there_is_told_with_where_it_was_looked_for(project):
    told = refused("theirs.no")
    assert told.startswith("env.name: got 'theirs.no', but there is no module")
    assert "PYTHONPATH" in told and "searched: " in told
    path = project("needs", "import nothing_like_this")
    assert "it imports 'nothing_like_this'" in refused(path)
    broken = project("broken", "1 / 0")
    assert "failed with ZeroDivisionError: division by zero" in refused(broken)
    assert "algo.role.name: got 'no.such'" in refused("no.such", as_method)


def test_modules_without_the_two_names_are_refused(project):
    assert "has nothing as Config" in refused(project("empty", ""))
    plain = project("plain", "class Config: pass")
    assert "@rolemarl_jax.config.config" in refused(plain)
    unnamed = project("unnamed", CONFIG.replace("name: str", "size: int"))
    assert "no field 'name'" in refused(unnamed)
    assert "has nothing as make" in refused(project("halves", CONFIG))


def test_what_make_is_told_and_does_is_compared(project):
    silent = project("silent", CONFIG + "    def make(cfg): return 1\n")
    assert "annotated to return nothing; allowed: Env" in refused(silent)
    wrong = project("wrong", CONFIG + "    def make(cfg) -> Env: return 1\n")
    assert "make returned int 1; allowed: a Env" in refused(wrong)
    told = refused(wrong, as_method)
    assert "return Env; allowed: PolicyMethod or RoleMethod" in told
    policy = CONFIG + (
        "    from rolemarl_jax.roles.parts.method import PolicyMethod\n"
        "    def make(cfg, spec) -> PolicyMethod: return 1\n"
    )
    assert "for another algo.learner" in refused(project("policy", policy), as_method)


def test_unknown_keys_of_a_module_are_refused_like_those_of_ours(project):
    path = project("world", CONFIG + "    def make(cfg) -> Env: return 1\n")
    with pytest.raises(ConfigError, match=r"env\.nmae: unknown key; known: name"):
        envs.make({"name": path, "nmae": 1})


def test_a_folder_of_files_joins_ours(repo, project):
    conf = repo / "examples" / "my_world" / "conf"
    words = f"--config-dir={conf}", "env=relay", "env.cells=7"
    cfg = configure(*words, "algo=qmix")
    assert cfg.env == {"name": "my_worlds.relay", "cells": 7, "horizon": 10}
    assert cfg.run_dir.startswith("runs/qmix-relay/")
    # Only of that command line.
    with pytest.raises(ConfigError, match="env: got 'relay'"):
        configure("env=relay")
    with folders.added(str(repo / "examples" / "my_method" / "conf")):
        text = manual.text(["algo=soft_roles"])
    assert "algo=soft_roles of acorm" in text and "How many roles there are." in text


def test_folders_that_are_none_are_refused(tmp_path, capsys):
    def told(*words):
        with pytest.raises(SystemExit) as ended:
            cli.launch(lambda cfg: None, words)
        assert ended.value.code == 2
        return capsys.readouterr().err

    assert "got 'no', which is no directory" in told("--config-dir", "no")
    assert "no folder of a group" in told("--config-dir", str(tmp_path))
    assert "allowed: a directory" in told("env=smax", "--config-dir")
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "smax.yaml").write_text("name: mine.smax")
    assert "has env/smax.yaml, as rolemarl_jax has" in told(
        f"--config-dir={tmp_path}", "env=smax"
    )
    assert "given twice" in told("-cd", "a", "-cd", "b")


def test_jobs_of_a_sweep_know_the_folder(repo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(repo / "examples" / "my_world")
    monkeypatch.syspath_prepend(str(repo / "examples" / "my_world"))
    monkeypatch.setattr(sys, "argv", ["run"])
    ran = []
    # Hydra would configure logging anew, and close streams that pytest replaced.
    quiet = ("hydra/hydra_logging=none", "hydra/job_logging=none")
    words = ["-m", "--config-dir", "conf", "env=relay", "env.cells=3,5", *quiet]
    monkeypatch.setattr(devices, "prepare_devices", lambda _: None)
    monkeypatch.setattr(jobs, "prepare_devices", lambda _: None)
    cli.launch(ran.append, [*words, f"hydra.sweep.dir={tmp_path}"])
    assert [cfg.env["cells"] for cfg in ran] == [3, 5], capsys.readouterr().err


def another_envs(folder):
    (folder / "envs").mkdir()
    (folder / "envs" / "__init__.py").write_text("theirs = True")
    return folder


def python(folder, repo, code):
    """Runs code as ``python -m`` would: the directory comes first on the path."""
    words = [sys.executable, "-c", code]
    where = {**os.environ, "PYTHONPATH": str(repo)}
    return subprocess.run(words, cwd=folder, env=where, capture_output=True, text=True)


def test_another_envs_beside_a_command_is_not_taken_for_ours(repo, tmp_path):
    folder = another_envs(tmp_path)
    find = "from importlib.util import find_spec; print(find_spec('envs').origin)"
    done = python(folder, repo, f"import experiments\n{find}")
    assert done.stdout.strip() == str(repo / "envs" / "__init__.py"), done.stderr
    # Without `experiments` it is theirs: this is what the claim is against.
    assert str(folder) in python(folder, repo, find).stdout


def test_another_envs_that_is_in_use_is_told(repo, tmp_path):
    done = python(another_envs(tmp_path), repo, "import envs, experiments")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: the package 'envs' of this process is")
    assert "import experiments before it" in last


def test_a_module_in_a_package_with_a_name_of_ours_is_explained():
    told = refused("envs.their_world")
    assert "'envs' is the package of rolemarl_jax" in told
