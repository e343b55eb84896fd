"""What docs/library.md shows works, block after block, as one notebook."""

import re
import subprocess
import sys

import pytest

import rolemarl_jax


@pytest.mark.slow
def test_the_page_runs(repo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = (repo / "docs" / "library.md").read_text(encoding="utf8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    assert len(blocks) == 5
    scope: dict = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"library.md, block {number}", "exec"), scope)
    assert scope["loss"].shape == (2,) and (scope["loss"] > 0).all()
    assert scope["episodes"].count == 16 and scope["wins"].keys() == {1024, 2048}
    assert scope["table"].read_text().startswith("seed,env_steps,")
    assert (tmp_path / "runs/notebook/mine.png").stat().st_size > 10_000
    assert "return" in capsys.readouterr().out


def test_every_public_name_is_there():
    for name in rolemarl_jax.__all__:
        assert getattr(rolemarl_jax, name) is not None
    assert set(rolemarl_jax.__all__) <= set(dir(rolemarl_jax))
    with pytest.raises(AttributeError, match="no attribute 'QMIX'"):
        _ = rolemarl_jax.QMIX


def test_the_import_is_light(repo):
    code = "import sys, rolemarl_jax; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=repo).returncode == 0
