"""Wrong names and values stop at the door; a run is never written over."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from experiments import evaluate
from experiments.door import cli, compose, devices, resume
from rolemarl_jax.config import ConfigError
from rolemarl_jax.disk import rundir


def resolve(*arguments):
    return resume.resolve(compose.composed(arguments))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_defaults_and_overrides_are_composed(tmp_path):
    cfg = resolve("algo=vdn", "env=smax", "env.map=2s3z", "seeds=7", "run=debug")
    assert (cfg.algo["name"], cfg.env["map"], cfg.seeds) == ("vdn", "2s3z", 7)
    assert cfg.preset == "debug"
    assert cfg.run_dir.startswith(os.path.join("runs", "vdn-smax-2s3z", ""))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("run", compose.groups()["run"])
def test_every_preset_is_a_whole_configuration(run):
    cfg = resolve(f"run={run}")
    assert cfg.preset == run
    assert cfg.eval.every % cfg.log_every == 0
    assert cfg.checkpoint.every % cfg.eval.every == 0
    assert cfg.eval.episodes % cfg.eval.worlds == 0


@pytest.mark.parametrize("algo", compose.groups()["algo"])
def test_the_papers_targets_are_one_step(algo):
    cfg = resolve("run=paper", f"algo={algo}")
    if cfg.algo["learner"] == "qmix":
        assert cfg.algo["td_lambda"] == 0.0


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("algo=acrom", r"algo: got 'acrom'; known: .*did you mean 'acorm'\?"),
        ("env=", r"env: got ''; known: .*smax"),
        ("sedes=4", r"sedes: unknown key; known: .*did you mean 'seeds'\?"),
        ("lr=1", r"lr: unknown key; .*did you mean 'algo\.lr'\?"),
        ("eval.evry=1", r"known: eval\.episodes, eval\.every, .*'eval\.every'"),
        (
            "env.map.size=1",
            r"env\.map\.size: unknown key; 'env\.map' is a single value",
        ),
        ("train=fast", r"train: got 'fast', but it is a section; set train\."),
        ("seeds=0.5", r"seeds: got 0\.5; input should be a valid integer"),
        ("seeds=0", r"seeds: got 0; .*greater than or equal to 1"),
        ("train.seeds_by=pmap", r"seeds_by: got 'pmap'; .*'auto', 'map' or 'vmap'"),
        ("+extra=1", r"extra: unknown key"),
        ("seeds", r"'seeds': got no key=value"),
        ("algo=vdn,qmix", r"add --multirun"),
        ("resume=true", r"resume: got true without run_dir"),
        ("run_dir='a[b]'", r"run_dir: got a path with \["),
        ("resume=1", r"resume: got 1; input should be a valid boolean"),
    ],
)
def test_errors_name_key_value_and_what_is_allowed(argument, message):
    with pytest.raises(ConfigError, match=message):
        resolve(argument)


def test_exit_status_is_2_before_jax_is_imported_or_anything_written(tmp_path, repo):
    code = (
        "import sys; from experiments.door import cli\n"
        "try: cli.launch(print, ['algo=acrom'])\n"
        "except SystemExit as e: sys.exit(f'jax={\"jax\" in sys.modules} {e.code}')"
    )
    environment = {**os.environ, "PYTHONPATH": str(repo)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.stderr.startswith("error: algo: got 'acrom'")
    assert done.stderr.rstrip().endswith("jax=False 2")
    assert list(tmp_path.iterdir()) == []


def test_launch_gives_the_job_a_record_and_reports_its_errors(capsys, monkeypatch):
    monkeypatch.setattr(devices, "prepare_devices", lambda cfg: None)
    seen = []
    cli.launch(seen.append, ["seeds=3", "run_dir=x"])
    assert (seen[0].seeds, seen[0].run_dir) == (3, "x")

    def job(cfg):
        raise ConfigError("env.map: got 'x'; known: y")

    with pytest.raises(SystemExit) as stop:
        cli.launch(job, [])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: env.map: got 'x'; known: y\n"


def test_config_yaml_repeats_the_run():
    cfg = resolve("algo=vdn", "run_dir=a", "seeds=3")
    assert rundir.create(cfg).joinpath("config.yaml").is_file()
    assert rundir.load_config("a") == cfg
    assert [path.name for path in rundir.create(cfg).iterdir()] == ["config.yaml"]


def test_a_run_is_not_written_over():
    rundir.create(resolve("run_dir=a"))
    with pytest.raises(ConfigError, match=r"'a' holds a run already.*resume=true"):
        resolve("run_dir=a")
    first = resolve()
    rundir.create(first)
    assert resolve().run_dir != first.run_dir


def test_runs_of_one_second_have_directories_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "prepare_devices", lambda cfg: None)
    monkeypatch.setattr(resume.time, "strftime", lambda _: "now")
    seen = []

    def job(cfg):
        seen.append(Path(cfg.run_dir))
        assert seen[-1].is_dir()
        if len(seen) < 3:
            # Resolved as the one before, and taken by it before anything was written.
            cli.launch(job, ["algo=vdn", "env=smax"])
            rundir.create(cfg)

    cli.launch(job, ["algo=vdn", "env=smax"])
    assert [path.name for path in seen] == ["now", "now-2", "now-3"]
    # The third wrote nothing, and planning takes none.
    assert sorted(path.name for path in seen[0].parent.iterdir()) == ["now", "now-2"]
    cli.launch(
        lambda cfg: seen.append(Path(cfg.run_dir)), ["algo=iql", "sweep.plan_only=true"]
    )
    assert not seen[-1].parent.exists()


def test_a_check_that_makes_no_run_takes_the_directory_of_one(monkeypatch):
    monkeypatch.setattr(devices, "prepare_devices", lambda cfg: None)
    rundir.create(resolve("run_dir=a"))
    seen = []
    cli.launch(seen.append, ["run_dir=a"], about="Checks.")
    cli.launch(seen.append, [], about="Checks.")
    assert seen[0].run_dir == "a" and not Path("runs").exists()
    with pytest.raises(SystemExit):
        cli.launch(seen.append, ["run_dir=a"])


@pytest.mark.parametrize("line", ["", "total_steps: null\n", "total_steps: [1]\n"])
def test_a_stored_configuration_without_a_length_is_named(line):
    path = rundir.create(resolve("run_dir=a")) / rundir.CONFIG
    path.write_text(re.sub("total_steps: .*\n", line, path.read_text()))
    for more in ([], ["total_steps=5"]):
        with pytest.raises(
            ConfigError, match=r"^run_dir: 'a/config.yaml' says\ntotal_s"
        ):
            resolve("run_dir=a", "resume=true", *more)


@pytest.mark.parametrize("left", [rundir.METRICS, rundir.CHUNKS, rundir.CHECKPOINTS])
def test_what_is_left_of_a_run_is_not_written_over(tmp_path, left):
    (tmp_path / "a" / left).mkdir(parents=True)
    with pytest.raises(ConfigError, match=rf"'a' holds {left} of a run without its"):
        resolve("run_dir=a")
    (tmp_path / "b" / "notes").mkdir(parents=True)
    assert resolve("run_dir=b").run_dir == "b"


def test_resume_takes_the_stored_configuration():
    cfg = resolve("algo=vdn", "run_dir=a", "seeds=3", "run=debug")
    rundir.create(cfg)
    assert resolve("run_dir=a", "resume=true") == dataclasses.replace(cfg, resume=True)
    again = ("algo=vdn", "run_dir=a", "seeds=3", "run=debug", "resume=true")
    assert resolve(*again) == dataclasses.replace(cfg, resume=True)
    more = cfg.total_steps + 1000
    grown = resolve("run_dir=a", "resume=true", f"total_steps={more}", "logger=offline")
    assert grown.total_steps == more
    assert grown.logger["wandb"] == "offline"
    assert grown.checkpoint == cfg.checkpoint


def test_a_run_that_is_older_than_some_keys_can_be_read():
    cfg = resolve("algo=qmix", "run_dir=old")
    path = rundir.create(cfg) / rundir.CONFIG
    stored = yaml.safe_load(path.read_text())
    del stored["algo"]["precision"], stored["bridge"], stored["sweep"]["process"]
    path.write_text(yaml.safe_dump(stored))
    assert rundir.load_config("old") == cfg


def test_resume_names_what_differs():
    cfg = resolve("algo=vdn", "run_dir=a", "seeds=3", "env.map=3m")
    rundir.create(cfg)
    with pytest.raises(ConfigError) as error:
        resolve("run_dir=a", "resume=true", "seeds=4", "algo=vdn", "env.map=8m")
    lines = str(error.value).split("\n")[1:]
    assert lines == ["env.map: stored '3m', now '8m'", "seeds: stored 3, now 4"]
    with pytest.raises(ConfigError, match=f"preset: stored '{cfg.preset}', now"):
        resolve("run_dir=a", "resume=true", "run=debug")
    with pytest.raises(
        ConfigError, match=r"total_steps: got 1; allowed: \d+ .*or more"
    ):
        resolve("run_dir=a", "resume=true", "total_steps=1")
    with pytest.raises(ConfigError, match="'b' holds no run"):
        resolve("run_dir=b", "resume=true")
    with pytest.raises(ConfigError, match=r"run_dir: got \[\]; allowed: a path"):
        resolve("run_dir=[]", "resume=true")


def test_options_of_small_commands():
    known = {"runs": ..., "out": "curves.png", "lengths": [60, 120]}
    got = cli.options(known, ["runs=[a,b/c]", "lengths=7"])
    assert got == {"runs": ["a", "b/c"], "out": "curves.png", "lengths": [7]}
    for bad, message in [
        (["out=x"], "runs: missing"),
        (["runs=a", "ouut=b"], "ouut: unknown option; .*did you mean 'out'"),
        (["runs=a", "runs=b"], "given twice"),
        (["runs"], "no key=value"),
        (["runs=[a"], "no YAML value"),
        (["runs=a", "env.=3"], r"env\.: got no name; write env\.<name>="),
        (["runs=a", "env.a=3", "env.a=4"], r"env\.a: given twice"),
    ]:
        with pytest.raises(ConfigError, match=message):
            cli.options({**known, "env.": {}}, bad)


@pytest.mark.parametrize("written", ["10", "1e1", "10.0", "1.0e+1"])
def test_whole_numbers_as_a_run_takes_them(written):
    got = cli.options({"episodes": 1}, [f"episodes={written}"])
    assert cli.whole(got, "episodes", least=1) == 10
    for wrong in ("1e-1", "x", "true", "1.5", "1e999", "0"):
        got = cli.options({"episodes": 1}, [f"episodes={wrong}"])
        with pytest.raises(ConfigError, match=r"episodes: got .*; allowed: 1 to"):
            cli.whole(got, "episodes", least=1)


BROKEN = """
import os, sys
from experiments.door import cli
reader, writer = os.pipe()
def action():
    if sys.argv[1] == "other":
        os.close(reader)
        os.write(writer, b"x")
    print("much" * 99999)
    sys.exit(0)
cli.guard(action)
"""


@pytest.mark.parametrize("pipe", ["ours", "other"])
def test_a_command_whose_output_nobody_reads_ends_quietly(pipe, repo):
    with subprocess.Popen(
        [sys.executable, "-c", BROKEN, pipe],
        env={**os.environ, "PYTHONPATH": str(repo)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        if pipe == "ours":
            process.stdout.close()
        told = process.stderr.read()
        status = process.wait()
    if pipe == "ours":
        assert (told, status) == ("", 141)
    else:
        assert "BrokenPipeError" in told and status == 1


def test_directories_that_look_like_numbers_are_names():
    for got in ("2026", "[]", ""):
        options = cli.options(evaluate.OPTIONS, [f"run_dir={got}"])
        with pytest.raises(ConfigError, match=r"run_dir: '.+' holds no run"):
            evaluate._main(options)


def test_devices_flags_are_added_once_and_the_users_win(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=5")
    monkeypatch.setattr(devices, "use_cache", lambda folder: None)
    monkeypatch.setattr(devices, "cores", lambda: 4)
    devices.prepare_devices(resolve("deterministic=true"))
    assert os.environ["XLA_FLAGS"] == (
        "--xla_force_host_platform_device_count=5 --xla_gpu_deterministic_ops=true"
    )
    assert devices.host_devices(resolve("seeds=1")) == 1
    assert devices.host_devices(resolve("seeds=3")) == 3
    assert devices.host_devices(resolve("seeds=9")) == 4
    assert devices.host_devices(resolve("seeds=9", "train.host_devices=2")) == 2


def test_devices_that_this_process_cannot_have(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr(devices, "use_cache", lambda folder: None)
    monkeypatch.setattr(devices, "cores", lambda: 4)
    for words, message in [
        (("seeds=9", "train.host_devices=5"), r"got 5; allowed: up to 4 .*process: 4"),
        (("seeds=2", "train.host_devices=3"), r"got 3; allowed: up to 2 .*seeds=2"),
    ]:
        with pytest.raises(ConfigError, match=rf"train\.host_devices: {message}"):
            devices.prepare_devices(resolve(*words))
    assert os.environ["XLA_FLAGS"] == ""
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=5")
    with pytest.raises(ConfigError, match=r"got 2, but XLA_FLAGS has --\S+=5"):
        devices.prepare_devices(resolve("seeds=9", "train.host_devices=2"))
    devices.prepare_devices(resolve("seeds=9", "train.host_devices=5"))


def test_every_configuration_file_says_what_it_is(repo):
    for path in (repo / "configs").rglob("*.yaml"):
        lines = path.read_text().splitlines()
        assert lines[0].startswith("#"), path
        assert yaml.safe_load("\n".join(lines)) is not None, path


def test_help_lists_groups_and_keys(tmp_path, repo):
    code = "from experiments.door import cli; cli.launch(print, ['--help'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(repo)},
        cwd=tmp_path,
    )
    assert done.returncode == 0
    assert "run=default of debug, default, paper" in done.stdout
    assert "total_steps=300000" in done.stdout
    assert list(tmp_path.iterdir()) == []
