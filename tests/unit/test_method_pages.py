"""Pages of methods name code that there is, and keys that there are."""

import importlib
import re

import pytest
import yaml
from support import REPO

PAGES = sorted((REPO / "docs" / "methods").glob("*.md"))
PACKAGE = REPO / "rolemarl_jax"
MODULES = [path.relative_to(REPO) for path in PACKAGE.rglob("*.py")]
# Files of authors and peers.
OTHERS = {
    "algorithm/acorm.py",
    "learners/latent_q_learner.py",
    "modules/agents/latent_ce_dis_rnn_agent.py",
    "pqn_vdn_rnn.py",
}
FILES = {"metrics.jsonl"}


def quoted(text):
    """What stands in backticks: files with names, and dotted names."""
    words = set(re.findall(r"`([^`\n]+)`", text))
    files = {w for w in words if re.fullmatch(r"[\w/]+\.py(: [\w., ]+)?", w)}
    dotted = {w for w in words if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", w)}
    return files - OTHERS, dotted - files - FILES - OTHERS


def has(holder, name):
    """Whether a module defines a name, or a record in it a field."""
    first = getattr(holder, name.partition(".")[0], None)
    if getattr(first, "__module__", holder.__name__) != holder.__name__:
        return False  # imported
    for part in name.split("."):
        annotated = getattr(holder, "__annotations__", {})
        if not hasattr(holder, part) and part not in annotated:
            return False
        holder = getattr(holder, part, None)
    return True


def module(path):
    return importlib.import_module(".".join(path.with_suffix("").parts))


def missing(word):
    """What of ``file.py: name, name`` is not there."""
    file, _, names = word.partition(": ")
    found = [p for p in (PACKAGE / file, REPO / file) if p.is_file()]
    if not found:
        return [file]
    if not names:
        return []
    holder = module(found[0].relative_to(REPO))
    return [name for name in names.split(", ") if not has(holder, name)]


def is_code(word):
    """Whether ``room.module.name``, ``module.name`` or ``Record.field`` is there."""
    if word[0].isupper():
        return has(importlib.import_module("rolemarl_jax.types"), word)
    parts = word.split(".")
    for i in range(1, len(parts)):
        tail = f"/{'/'.join(parts[:i])}.py"
        places = [path for path in MODULES if f"/{path}".endswith(tail)]
        if any(has(module(path), ".".join(parts[i:])) for path in places):
            return True
    return False


def keys():
    """Every key of the configuration, at whatever depth."""
    found, left = set(), []
    for path in (REPO / "configs").rglob("*.yaml"):
        found |= {path.parent.name}  # a group is a key, too
        left.append(yaml.safe_load(path.read_text(encoding="utf8")))
    while left:
        values = left.pop()
        if isinstance(values, dict):
            found |= set(values)
            left += values.values()
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_code_that_a_page_names_is_there(page):
    files, dotted = quoted(page.read_text(encoding="utf8"))
    assert files
    gone = {word: missing(word) for word in files if missing(word)}
    assert not gone
    known = keys()
    gone = [w for w in dotted if not (known.issuperset(w.split(".")) or is_code(w))]
    assert not gone


@pytest.mark.parametrize(
    "text",
    [
        "`roles/roma.py: make.encode`",
        "`roles/roma.py: encode, Trunk`",
        "`learners/block.py`",
        "`learners.block.prepare`",
        "`parts.momentum`",
        "`maac._updater`",
        "`Env.body`",
        "`algo.means`",
    ],
)
def test_what_is_not_there_is_found(text):
    files, dotted = quoted(text)
    assert len(files | dotted) == 1
    assert all(missing(word) for word in files)
    known = keys()
    assert not any(known.issuperset(w.split(".")) or is_code(w) for w in dotted)
