"""Two world models of what agents observe, one that knows the roles and one without.

R3DM trains both on every batch (Goel et al., ICML 2025) and compares what they foresee
(``roles.parts.foresight``).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from rolemarl_jax.config import Above0, Fraction, NonNegative, config
from rolemarl_jax.nets.rssm import RSSM, RSSMConfig
from rolemarl_jax.ops import latent
from rolemarl_jax.ops.optim import optimiser, soft_update
from rolemarl_jax.roles.parts.phase import Context, LossOut, Params, Phase
from rolemarl_jax.trees import choose
from rolemarl_jax.types import Array, Batch, EnvSpec, Key, LearnerState, PyTree

MODELS = ("world_role", "world")
"""Parameter groups of the model that knows the roles and of the one that does not."""


@config
class WorldConfig:
    """World models (key ``algo.role.world``).

    Attributes:
        net: sizes.
        free_nats: floor of the latents' divergence.
        dynamics_scale: weight of its direction that trains the prior.
        representation_scale: weight of its direction that trains the posterior.
        lr: learning rate of each model.
        eps: of its Adam.
        clip: of its gradient's norm.
        target_tau: step of the copies that the reward reads towards the models, after
            each of their updates.
    """

    net: RSSMConfig
    free_nats: NonNegative
    dynamics_scale: NonNegative
    representation_scale: NonNegative
    lr: NonNegative
    eps: Above0
    clip: Above0
    target_tau: Fraction


def make_models(cfg: WorldConfig, spec: EnvSpec, role: int) -> dict[str, RSSM]:
    """The models by name; ``role`` is Z."""
    sizes = zip(MODELS, (role, 0), strict=True)
    return {
        name: RSSM(cfg.net, spec.obs_dim, spec.n_actions, size) for name, size in sizes
    }


def init_model(net: RSSM, key: Key) -> PyTree:
    """Parameters of a model."""
    sizes = (net.obs, net.actions, net.role)
    rows = [jnp.zeros((1, 1, size)) for size in sizes]
    return net.init(key, *rows, jnp.ones((1, 1), bool))


def story(batch: Batch, role: Array, n_actions: int) -> tuple[Array, Array]:
    """What led to each observation: one-hot actions, and the roles they were taken in.

    Args:
        role: `[T+1, B, N, Z]`.

    Returns:
        `[T+1, B, N, A]` and `[T+1, B, N, Z]`; zeros at an episode's first step.
    """
    before = jnp.concatenate([jnp.zeros_like(role[:1]), role[:-1]])
    before = choose(batch.reset, jnp.zeros_like(before), before)
    return jax.nn.one_hot(batch.last_action, n_actions), before


def per_transition(x: Array, batch: Batch) -> Array:
    """Lays numbers of observations `[T+1, B]` out over transitions `[T, B]`.

    Each transition gets that of the observation it leads to, the first of an episode
    also that of its first observation; so every real observation counts once.
    """
    return x[1:] + jnp.where(batch.reset[:-1], x[:-1], 0.0)


def model_losses(
    cfg: WorldConfig,
    net: RSSM,
    params: PyTree,
    batch: Batch,
    role: Array,
    key: Key | None,
) -> tuple[Array, Array]:
    """Reconstruction error and balanced divergence of a world model, `[T+1, B, N]`.

    Args:
        role: `[T+1, B, N, Z]`; the role-agnostic model reads none of it.
        key: of the latents' samples; ``None`` takes modes.
    """
    drive, before = story(batch, role[..., : net.role], net.actions)
    posterior = net.apply(
        params, batch.obs, drive, before, batch.reset, key, method=net.observe
    )
    prior = net.apply(params, posterior.deter, method=net.prior)
    predicted = net.apply(
        params, posterior.deter, posterior.latent, before, method=net.decode
    )
    divergence = latent.balanced_kl(
        posterior.log_probs,
        prior,
        cfg.dynamics_scale,
        cfg.representation_scale,
        cfg.free_nats,
    )
    return latent.symlog_error(predicted, batch.obs), divergence


Read = Callable[[Context], Array]
"""What a world model's loss is told of the roles: ``Context -> [T+1, B, N, Z]``."""


def world_phases(
    cfg: WorldConfig, nets: dict[str, RSSM], roles: Read, *, exact: bool
) -> tuple[Phase, ...]:
    """One phase a model; roles are inputs that its loss does not change.

    Args:
        exact: the copies that the reward reads are the models themselves, instead of
            taking a step towards them.
    """

    def phase(name: str) -> Phase:
        def loss(params: Params, ctx: Context) -> LossOut:
            net, batch = nets[name], ctx.batch
            role = roles(ctx) if net.role else jnp.zeros((*batch.obs.shape[:-1], 0))
            found = model_losses(cfg, net, params[name], batch, role, ctx.key)
            names = ("observation", "divergence")
            means = [per_transition(x.mean(-1), batch) for x in found]
            return LossOut(dict(zip(names, means, strict=True)))

        def follow(state: LearnerState) -> LearnerState:
            copy = online = state.params[name]
            if not exact:
                copy = soft_update(state.aux[name], online, cfg.target_tau)
            return state._replace(aux={**state.aux, name: copy})

        return Phase(
            name=name,
            stage="train",
            lr={name: "world_lr"},
            optimiser=optimiser("adam", cfg.eps, {(name,): cfg.clip}),
            loss=loss,
            scales={"observation": 1.0, "divergence": 1.0},
            after=follow,
        )

    return tuple(phase(name) for name in MODELS)
