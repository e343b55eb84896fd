"""The method that docs/adding_a_method.md writes, added to a copy of the project."""

import os
import re
import shutil
import subprocess
import sys

import pytest

PACKAGES = ("rolemarl_jax", "envs", "experiments", "configs")
WORDS = (
    *("algo=by_index", "env=windy_maze", "run=debug", "seeds=1", "total_steps=1000"),
    *("log_every=500", "eval.every=500", "checkpoint.every=500", "replay.episodes=20"),
    "algo.role.hidden=8",
)


@pytest.fixture(scope="module")
def copy(repo, tmp_path_factory):
    """The packages, with the two files of the page where it says that they go."""
    folder = tmp_path_factory.mktemp("copy")
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(repo / name, folder / name, ignore=ignored)
    page = (repo / "docs" / "adding_a_method.md").read_text(encoding="utf8")
    (yaml,) = re.findall(r"```yaml\n(.*?)```", page, re.S)
    (module,) = re.findall(r"```python\n(.*?)```", page, re.S)
    (folder / "configs/algo/by_index.yaml").write_text(yaml)
    (folder / "rolemarl_jax/roles/by_index.py").write_text(module)
    return folder


def run(folder, out, *words):
    script = (
        "import jax; jax.config.update('jax_disable_most_optimizations', True)\n"
        "from experiments import run; run.main()"
    )
    env = {**os.environ, "PYTHONPATH": str(folder), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", script, *WORDS, f"run_dir={out}", *words]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


@pytest.mark.slow
def test_the_method_trains(copy):
    done = run(copy, "out")
    assert done.returncode == 0, done.stderr
    rows = (copy / "out" / "metrics.jsonl").read_text().splitlines()
    assert '"td/loss_apart": ' in rows[-2] and "null" not in rows[-2]


def test_a_loss_without_a_weight_is_refused(copy):
    done = run(copy, "refused", "~algo.loss_scales.apart")
    assert done.returncode == 2 and not (copy / "refused").exists()
    assert "algo.loss_scales: got weights of td" in done.stderr
    assert "missing: apart" in done.stderr
