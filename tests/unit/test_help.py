"""Help of every command explains it, and what it names is accepted."""

import re
import runpy
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from experiments import __main__ as commands
from experiments import evaluate, plot, release, report, summarise, table
from experiments.door import again, cli, compose, manual, overrides
from rolemarl_jax.disk.rundir import leaves

SMALL = [plot, table, evaluate, report, summarise, release]


def test_help_of_a_run_explains_each_key_and_lists_files_that_are_accepted():
    text = manual.text(["algo=roma", "env=pac_men", "--help"])
    lines = text.splitlines()
    start = lines.index("Keys, with their present values:") + 1
    values = compose.composed(["algo=roma", "env=pac_men"]).values
    told = [line.split("=")[0].strip() for line in lines[start:] if "=" in line]
    assert [key for key, _ in leaves(values) if key not in told] == []
    # A comment stands above each run of keys; none begins without one.
    first = next(line for line in lines[start:] if not line.startswith("  #"))
    assert lines[lines.index(first) - 1].startswith("  # ")
    for key in ("seed", "env.name", "algo.name", "algo.role.name", "sweep.hypers"):
        at = next(i for i, line in enumerate(lines) if line.startswith(f"  {key}="))
        assert lines[at - 1].startswith("  # "), key
    listed = re.findall(r"^  (\w+)=\S+ of ((?:.|\n      )*)", text, re.M)
    found = {group: re.split(r",\s+", files.strip()) for group, files in listed}
    assert found == compose.groups()
    assert not any(one.startswith("_") for files in found.values() for one in files)


@pytest.mark.parametrize(
    "words",
    [
        "algo=pqn_qmix_state",
        "algo=r3dm run=paper algo.mixer.name=vdn",
        "algo=eoi env=smac algo.learner=pqn",
        "algo=maac_grid env=pac_men",
    ],
)
def test_help_takes_comments_of_the_files_inside_groups(words):
    lines, chosen = (
        manual.text(words.split()).splitlines(),
        compose.composed(words.split()),
    )
    for key, _ in leaves(chosen.values):
        assert any(line.startswith(f"  {key}=") for line in lines), key
    for key in {"algo.learner", "algo.mixer.name"} & dict(leaves(chosen.values)).keys():
        at = next(i for i, line in enumerate(lines) if line.startswith(f"  {key}="))
        assert lines[at - 1].startswith("  # "), key


@pytest.mark.parametrize("command", SMALL)
def test_small_commands_explain_each_option(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.options(command.OPTIONS, ["--help"], command.__doc__)
    text = capsys.readouterr().out
    assert ended.value.code == 0 and command.__doc__.split("\n")[0] in text
    for key in command.OPTIONS:
        name = f"{key}<name>=" if key.endswith(".") else f"{key}="
        assert re.search(rf"^  {re.escape(name)} +\w", text, re.M), key


def test_commands_are_listed_and_reached(capsys, monkeypatch):
    commands.main([])
    text = capsys.readouterr().out
    for name, path in commands.COMMANDS.items():
        assert re.search(rf"^  {name} +[A-Z].*\.$", text, re.M), name
        assert (commands.HERE / path).is_file()
    called = []
    monkeypatch.setattr(
        runpy, "run_module", lambda name, **_: called.append((name, sys.argv[1:]))
    )
    monkeypatch.setattr(sys, "argv", ["rolemarl"])
    commands.main(["plot", "runs=a"])
    assert called == [("experiments.plot", ["runs=a"])]
    with pytest.raises(SystemExit) as ended:
        commands.main(["plt"])
    assert ended.value.code == 2 and "did you mean 'plot'" in capsys.readouterr().err


def test_the_script_is_that_function(repo):
    built = tomllib.loads((repo / "pyproject.toml").read_text(encoding="utf8"))
    module, _, name = built["project"]["scripts"]["rolemarl"].partition(":")
    assert getattr(sys.modules[module], name) is commands.main


def test_lines_to_copy_name_the_interpreter_and_are_quoted(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / ".venv" / "bin" / "python"
    monkeypatch.setattr(sys, "executable", str(own))
    line = again.command("plot", "runs=[a,b]", "out=c.png")
    assert line == ".venv/bin/python -m experiments.plot 'runs=[a,b]' out=c.png"
    monkeypatch.setattr(again.shutil, "which", lambda name: str(own))
    assert again.command("run").startswith("python -m")
    monkeypatch.setattr(again.shutil, "which", lambda name: "/usr/bin/python")
    monkeypatch.chdir(Path("/"))
    assert again.command("run").split()[0] == str(own)[1:]


def commands_of(path):
    """Command lines that stand in a block of a page."""
    start = r"(?:ROLEMARL_\w+=\d+ )?(?:\.venv/bin/|make |python |pytest |rolemarl )"
    text = re.sub(r"\\\n +", "", path.read_text(encoding="utf8"))
    return re.findall(rf"^    ({start}.*)$", text, re.M)


def test_commands_of_the_pages_work_as_typed(repo):
    """Also in zsh, which knows no comments there and refuses patterns of no file."""
    pages = [repo / "README.md", *(repo / "docs").rglob("*.md")]
    found = [(page.name, line) for page in pages for line in commands_of(page)]
    assert len(found) > 20
    plain = [(page, re.sub(r"'[^']*'|\"[^\"]*\"", "", line)) for page, line in found]
    assert [one for one in plain if re.search(r"[][{}*?<>#()]", one[1])] == []
    assert [one for one in plain if not re.search(r"\.venv/bin/|^make ", one[1])] == []
    for _, line in found:
        shlex.split(line)


def test_configurations_of_the_readme_are_accepted(repo):
    lines = [shlex.split(line) for line in commands_of(repo / "README.md")]
    runs = [words[3:] for words in lines if words[1:3] == ["-m", "experiments.run"]]
    assert len(runs) > 4
    for words in runs:
        compose.check(overrides.words(words), sweep="-m" in words)
