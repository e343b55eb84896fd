"""Bytes: of one replay step for each map and store, and of one seed of a run."""

from typing import Any

from experiments.door.compose import composed, groups


def run(options: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each map, then one for each algorithm on ``options["map"]``."""
    import jax

    import envs
    from envs.battle.maps import MAPS
    from rolemarl_jax.config import build
    from rolemarl_jax.experience.replay import make_replay
    from rolemarl_jax.experience.store import make_store
    from rolemarl_jax.run_config import ReplayConfig
    from rolemarl_jax.trees import tree_bytes

    rows = []
    for name in MAPS:
        values = composed(["env=smax", "run=paper", f"env.map={name}"]).values
        env = envs.make_compiled(values["env"])
        row: dict[str, Any] = {"map": name}
        for store in ("packed", "observations"):
            replay = {**values["replay"], "store": store, "sampling": "episodes"}
            cfg = build(ReplayConfig, replay, "replay")
            kept, worlds = make_store(store, env), values["train"]["worlds"]
            made = make_replay(cfg, env.spec, kept, worlds)
            size = jax.eval_shape(made.init)
            row[f"{store}, bytes a step"] = made.slot_bytes
            row[f"{store}, MiB a seed"] = tree_bytes(size) / 2**20
        rows.append(row)
    names = options["algo"] or groups()["algo"]
    return rows + [_seed_row(name, options["map"]) for name in names]


def _seed_row(algo: str, map_name: str) -> dict[str, Any]:
    """State and working memory of one seed, from the compiled program."""
    import envs
    from rolemarl_jax.config import build
    from rolemarl_jax.learners import make_learner
    from rolemarl_jax.program.compiled import compile_program
    from rolemarl_jax.program.program import make_program
    from rolemarl_jax.run_config import RunConfig

    chosen = [f"algo={algo}", "run=paper", f"env.map={map_name}", "seeds=1"]
    values = {**composed(chosen).values, "run_dir": ""}
    cfg = build(RunConfig, values, "")
    env = envs.make_compiled(cfg.env)
    program = make_program(cfg, env, make_learner(cfg.algo, env.spec))
    footprint = compile_program(program, cfg).footprint
    return {
        "algo": algo,
        "map": map_name,
        "parameters": footprint.parameters,
        "state, MiB a seed": footprint.state / 2**20,
        "of which replay": footprint.replay / 2**20,
        "working, MiB": footprint.working / 2**20,
    }
