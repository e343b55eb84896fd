"""What the documentation says to type is taken as it stands, in bash and in zsh."""

import re
import shlex
from pathlib import Path

import pytest

from experiments.door import compose, resume, unread

REPO = Path(__file__).resolve().parents[2]
PAGES = [
    REPO / "README.md",
    *sorted((REPO / "docs").rglob("*.md")),
    *sorted((REPO / "examples").rglob("*.md")),
]
RUN = "-m experiments.run "
# Needs a folder or a run that a reader has, or stands for more words.
THEIRS = ("--config-dir", "resume=true", "init_from=", "algo=by_index", "-m ", "... ")


def written():
    """Pairs of page and line: commands in indented blocks."""
    for page in PAGES:
        text = re.sub(r"\\\n\s*", "", page.read_text())
        for line in re.findall(r"^ {4,}(\S*python .*)$", text, re.MULTILINE):
            yield page.relative_to(REPO), line


def overrides():
    """Pairs of page and text: ``key=value ...`` between backticks."""
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for inline in re.findall(r"`([^`]+)`", text):
            if re.match(r"(algo|env|sweep|replay|suite|run)(\.\w+)*=\S", inline):
                yield page.relative_to(REPO), inline


@pytest.mark.parametrize(("page", "text"), [*written(), *overrides()])
def test_a_shell_changes_nothing(page, text):
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", text)
    assert not re.search(r"[\[\]{}*?]", bare), f"{page}: quotes are missing in {text}"


@pytest.mark.parametrize(
    ("page", "line"),
    [
        (page, line.partition(RUN)[2])
        for page, line in written()
        if RUN in line
        and not any(word in f"{line.partition(RUN)[2]} " for word in THEIRS)
    ],
)
def test_a_run_is_accepted(page, line):
    new = compose.composed(["run_dir=x", *shlex.split(line)])
    unread.refuse(new, resume.resolve(new))
