"""What ``pip install .`` brings: every room, and every file that is no module."""

import re
import subprocess
import tomllib
from fnmatch import fnmatch
from itertools import chain

import pytest

PACKAGES = ("rolemarl_jax", "envs", "experiments")
TREES = (*PACKAGES, "configs")


@pytest.fixture
def built(repo):
    """How the wheel is made."""
    text = (repo / "pyproject.toml").read_text(encoding="utf8")
    return tomllib.loads(text)


def files(repo):
    """Files of the trees that go into the wheel, as git has them or would have."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *TREES]
    done = subprocess.run(words, cwd=repo, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("needs a git checkout")
    found = [repo / line for line in done.stdout.splitlines()]
    return [path for path in found if path.is_file()]


def test_every_folder_with_modules_is_a_package(repo):
    """A folder without ``__init__.py`` would be a namespace: found, but by chance."""
    modules = chain.from_iterable((repo / top).rglob("*.py") for top in PACKAGES)
    rooms = {path.parent for path in modules}
    assert repo / "envs" / "bridged" in rooms
    assert [room for room in rooms if not (room / "__init__.py").is_file()] == []


def test_every_tree_is_found_and_configs_hold_no_modules(repo, built):
    find = built["tool"]["setuptools"]["packages"]["find"]
    # Folders of YAML are packages only because namespaces are looked for.
    assert find.get("namespaces", True) and "exclude" not in find
    for path in files(repo):
        package = ".".join(path.parent.relative_to(repo).parts)
        assert any(fnmatch(package, pattern) for pattern in find["include"]), path
    assert not any(fnmatch("tests", pattern) for pattern in find["include"])


def test_every_file_is_a_module_or_data(repo, built):
    data = built["tool"]["setuptools"]["package-data"]["*"]
    rest = [path for path in files(repo) if path.suffix != ".py"]
    assert {path.suffix for path in rest} >= {".yaml", ".typed"}
    left_out = [p for p in rest if not any(fnmatch(p.name, one) for one in data)]
    assert left_out == []


def test_the_licence_is_named_and_there(repo, built):
    project = built["project"]
    assert project["license"] == "Apache-2.0"
    text = "".join((repo / name).read_text() for name in project["license-files"])
    assert "Apache License" in text and "2026 the rolemarl_jax authors" in text


def test_every_pinned_package_has_its_licence_told(repo):
    pinned = (repo / "constraints.txt").read_text(encoding="utf8")
    page = (repo / "docs" / "dependencies.md").read_text(encoding="utf8")
    names = set(re.findall(r"^([\w.-]+)==", pinned, re.M))
    told = set(re.findall(r"(?<=[\s|])([\w-]+)(?=[,. ])", page))
    assert len(names) > 100 and names <= told, names - told
