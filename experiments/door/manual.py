"""What ``experiments.run --help`` prints: groups, and each key with its explanation.

Explanations are the comments of the files in ``configs/``, so that there is one text of
each key; of groups that a command line chooses, those of the files it chooses.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from experiments.door import compose, folders, overrides
from experiments.door.folders import CONFIGS
from rolemarl_jax.disk.rundir import leaves

RUN = """Trains one algorithm in one world over many seeds at once.

python -m experiments.run [group=file ...] [key=value ...]
python -m experiments.run algo=qmix env=smax env.map=2s3z seeds=8
python -m experiments.run -m algo=qmix,acorm env.map=3m,2s3z    # a run of each
python -m experiments.run algo=roma env=pac_men --help          # the keys of these"""
GROUPS = """
Groups, one file each (configs/<group>/<file>.yaml):"""
FLAGS = """
Flags:
  --help              this text
  -m, --multirun      several values of a key or group, a,b, are a run of each
  --config-dir DIR    files of your own, DIR/algo/*.yaml, DIR/env/*.yaml, join ours
  --cfg job           prints the configuration, and runs nothing
  --resolve           with --cfg: interpolations filled in
  --hydra-help        Hydra's own flags"""
WIDTH = 88
KEY = re.compile(r"^( *)([A-Za-z_][A-Za-z_0-9]*): *([^#]*?)(?:\s+#\s*(.*))?$")


def text(arguments: Sequence[str], about: str = RUN) -> str:
    """Help on the groups and keys of a command line, after what the command does.

    Raises:
        ConfigError: an unknown group, file or key.
    """
    chosen = compose.composed(overrides.words(arguments))
    told = dict(_explained(chosen.choices))
    lines = [
        about.strip(),
        GROUPS,
        *_groups(chosen.choices),
        "",
        "Keys, with their present values:",
    ]
    for key, value in leaves(chosen.values):
        lines += _key(key, value, told)
    return "\n".join([*lines, FLAGS])


def _groups(choices: Mapping[str, str]) -> Iterator[str]:
    """Files of each group that may be chosen, the chosen one named first."""
    for group, files in compose.groups().items():
        if group in choices:
            listed = f"{group}={choices[group]} of {', '.join(files)}"
            yield from textwrap.wrap(
                listed, WIDTH, initial_indent="  ", subsequent_indent="      "
            )


def _key(key: str, value: Any, told: dict[str, str]) -> Iterator[str]:
    """Comments of a key and of sections that begin with it, and what it is set to."""
    parts = key.split(".")
    for depth in range(1, len(parts) + 1):
        # Once: what stands above several keys explains all of them.
        above = told.pop(".".join(parts[:depth]), "")
        yield from textwrap.wrap(
            above, WIDTH, initial_indent="  # ", subsequent_indent="  # "
        )
    yield f"  {key}={_typed(value)}"


def _typed(value: Any) -> str:
    """A value as it would be typed."""
    dumped = yaml.safe_dump(value, default_flow_style=True, width=10**6)
    return dumped.removesuffix("\n...\n").strip()


def _explained(choices: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Comments by dotted key: those of the chosen files, after those they build on.

    What a group says stands above what a group inside it says.
    """
    yield from _comments(CONFIGS / "config.yaml", "")
    for choice in sorted(choices, key=compose.groups().__contains__):
        group, _, package = choice.partition("@")
        section = package or group.replace("/", ".")
        top = section in ("_global_", *compose.GLOBAL_GROUPS)
        yield from _of_file(group, choices[choice], "" if top else f"{section}.")


def _of_file(group: str, name: str, prefix: str) -> Iterator[tuple[str, str]]:
    """Comments of a file and of those of its group that it builds on.

    Files of other groups that its list of defaults names are choices of their own.
    """
    path = folders.file_of(group, name)
    if not path.is_file():
        return  # a preset that this algorithm does not have
    for entry in yaml.safe_load(path.read_text(encoding="utf8")).get("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            yield from _of_file(group, entry, prefix)
    yield from _comments(path, prefix)


def _comments(path: Path, prefix: str) -> Iterator[tuple[str, str]]:
    """Comments of one file: beside a key, or on the lines above it."""
    above: list[str] = []
    parents: list[tuple[int, str]] = []
    for line in path.read_text(encoding="utf8").splitlines():
        found = KEY.match(line)
        if line.strip().startswith("#"):
            above.append(line.strip().lstrip("# "))
            continue
        if found is not None:
            indent, name, _, beside = found.groups()
            parents = [one for one in parents if one[0] < len(indent)]
            parents.append((len(indent), name))
            key = ".".join(name for _, name in parents)
            if told := beside or " ".join(above):
                # What stands above a list of defaults is of the whole file.
                yield f"{prefix}{'name' if key == 'defaults' else key}", told
        above = []
