"""The notebook of examples/ runs, cell after cell, on a smaller world."""

import json

import pytest

SMALL = """
STEPS = 4096
WORLD = ["env=smax", "env.map=2s3z"]
MORE = [
    *("run=debug", "log_every=2048", "eval.every=2048", "checkpoint.every=2048"),
    *("train.worlds=8", "train.steps_per_update=256", "algo.minibatch=4"),
    *("eval.role_episodes=4", "algo.role.pretrain_embedding=1"),
    "algo.role.pretrain_contrastive=1",
]
"""


@pytest.mark.slow
def test_the_notebook_runs(repo, tmp_path, monkeypatch):
    text = (repo / "examples" / "tutorial.ipynb").read_text(encoding="utf8")
    cells = [one for one in json.loads(text)["cells"] if one["cell_type"] == "code"]
    assert all(one["outputs"] == [] for one in cells)
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    for number, cell in enumerate(cells):
        source = "".join(cell["source"])
        exec(compile(source, f"tutorial.ipynb, cell {number}", "exec"), scope)
        if "STEPS" in source and number == 0:
            exec(SMALL, scope)
    assert {row["seed"] for row in scope["greedy"]} == {0, 1}
    names = set(scope["told"])
    # What the text names is there.
    assert {"role/nmi_type", "role/influence", "role/switching"} <= names
    for name in ("report.html", "film.gif", "mine.png"):
        assert (tmp_path / "runs" / "tutorial" / name).stat().st_size > 10_000
