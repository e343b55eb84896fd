"""Recurrent state-space model of an agent's observations, in DreamerV3's form.

Hafner et al. 2023 (arXiv:2301.04104), at the sizes and with the initialisation of the
authors' `dreamerv3-torch`, which R3DM trains twice: with and without a role as input.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from rolemarl_jax.config import Fraction, Size, config
from rolemarl_jax.nets.layers import Module, project
from rolemarl_jax.ops import latent_scan
from rolemarl_jax.ops.latent import mixed_log_probs, start_latent, symlog
from rolemarl_jax.ops.latent_scan import Latents, Matrices, Norm, Vectors
from rolemarl_jax.trees import widened
from rolemarl_jax.types import Array, Key


@config
class RSSMConfig:
    """Sizes of the model.

    Attributes:
        hidden: units of every layer.
        deter: D, units of the recurrent state.
        latents: S, categorical variables.
        classes: C, values of each.
        unimix: share of the uniform in their distributions.
    """

    hidden: Size
    deter: Size
    latents: Size
    classes: Size
    unimix: Fraction


def normal_fan(key: Key, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
    """Normal of variance ``2 / (in + out)`` once cut at 2 deviations (DreamerV3)."""
    scale = (2.0 / sum(shape)) ** 0.5 / 0.87962566
    return scale * jax.random.truncated_normal(key, -2.0, 2.0, tuple(shape), dtype)


def uniform_mean_fan(key: Key, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
    """Uniform with variance ``2 / (in + out)`` (DreamerV3's output layers)."""
    bound = (6.0 / sum(shape)) ** 0.5
    return jax.random.uniform(key, tuple(shape), dtype, -bound, bound)


def _norm(module: Module, name: str, width: int) -> Norm:
    return Norm(
        module.param(f"{name}_scale", nn.initializers.ones, (width,)),
        module.param(f"{name}_bias", nn.initializers.zeros, (width,)),
    )


class Head(Module):
    """Layers without bias, LayerNorm, SiLU; then a linear map.

    Attributes:
        widths: units of each layer.
        out: outputs of the linear map; ``None`` leaves it out.
    """

    widths: tuple[int, ...]
    out: int | None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[..., in]` to `[..., out]`."""
        for i, width in enumerate(self.widths):
            x = project(x, self.param(f"w{i}", normal_fan, (x.shape[-1], width)))
            x = latent_scan.activation(x, _norm(self, f"norm{i}", width))
        if self.out is None:
            return x
        kernel = self.param("kernel", uniform_mean_fan, (x.shape[-1], self.out))
        bias = self.param("bias", nn.initializers.zeros, (self.out,))
        return project(x, kernel) + bias


class RSSM(Module):
    """The model.

    Attributes:
        cfg: sizes.
        obs: O.
        actions: A.
        role: Z; 0 for the model that knows no roles.
    """

    cfg: RSSMConfig
    obs: int
    actions: int
    role: int

    def setup(self) -> None:
        """Declares the parameters."""
        c, size = self.cfg, self.cfg.latents * self.cfg.classes
        self.encoder = Head((c.hidden, c.hidden), None)
        self.decoder = Head((c.hidden, c.hidden), self.obs)
        self.prior_head = Head((c.hidden,), size)
        read = size + self.actions + self.role
        self.w_in = self.param("w_in", normal_fan, (read, c.hidden))
        self.norm_in = _norm(self, "norm_in", c.hidden)
        joint = (c.hidden + c.deter, 3 * c.deter)
        self.w_cell = self.param("w_cell", normal_fan, joint)
        self.norm_cell = _norm(self, "norm_cell", 3 * c.deter)
        both = (c.deter + c.hidden, c.hidden)
        self.w_post = self.param("w_post", normal_fan, both)
        self.norm_post = _norm(self, "norm_post", c.hidden)
        shape = (c.hidden, size)
        self.post_kernel = self.param("post_kernel", uniform_mean_fan, shape)
        self.post_bias = self.param("post_bias", nn.initializers.zeros, (size,))
        self.start = self.param("start", nn.initializers.zeros, (c.deter,))

    def __call__(self, obs: Array, drive: Array, role: Array, reset: Array) -> Array:
        """Reconstructions with modes for samples, to initialise the parameters."""
        seen = self.observe(obs, drive, role, reset, None)
        self.prior(seen.deter)
        return self.decode(seen.deter, seen.latent, role)

    def observe(
        self, obs: Array, drive: Array, role: Array, reset: Array, key: Key | None
    ) -> Latents:
        """Posterior states along observed sequences.

        Args:
            obs: `[T, ..., O]`. drive: `[T, ..., A]`, one-hot of the action that led to
                each observation. role: `[T, ..., Z]`, the role it was taken in.
            reset: `[T, ...]` bool with as many axes as fit, first steps of episodes.
            key: of the latents' samples; ``None`` takes modes.
        """
        c, size = self.cfg, self.cfg.latents * self.cfg.classes
        seen = project(self.encoder(symlog(obs)), self.w_post[c.deter :])
        into = project(jnp.concatenate([drive, role], -1), self.w_in[size:])
        begins = widened(reset, into)
        shape = (*into.shape[:-1], c.latents)
        noise = None if key is None else jax.random.uniform(key, shape)
        sequence = latent_scan.Sequence(
            jnp.where(begins, 0.0, into), seen, noise, reset
        )
        matrices = Matrices(
            self.w_in[:size], self.w_cell, self.w_post[: c.deter], self.post_kernel
        )
        return latent_scan.observe(c.unimix, matrices, self._vectors(), sequence)

    def _vectors(self) -> Vectors:
        """Vectors of the scan, with the learned initial state and its mode."""
        deter = jnp.tanh(self.start)
        first = start_latent(self.prior(deter))
        norms = self.norm_in, self.norm_cell, self.norm_post
        return Vectors(*norms, self.post_bias, deter, first)

    def prior(self, deter: Array) -> Array:
        """Log-probabilities of the latents before the observation, `[..., S, C]`."""
        c = self.cfg
        logits = self.prior_head(deter)
        shaped = logits.reshape((*logits.shape[:-1], c.latents, c.classes))
        return mixed_log_probs(shaped, c.unimix)

    def decode(self, deter: Array, latent: Array, role: Array) -> Array:
        """Observations in symlog space, `[..., O]`."""
        flat = latent.reshape((*latent.shape[:-2], -1))
        return self.decoder(jnp.concatenate([flat, deter, role], -1))

    def imagine(self, deter: Array, latent: Array, drive: Array, role: Array) -> Array:
        """Recurrent state one step on, without an observation, `[..., D]`."""
        flat = latent.reshape((*latent.shape[:-2], -1))
        read = jnp.concatenate([flat, drive, role], -1) @ self.w_in
        x = latent_scan.activation(read, self.norm_in)
        parts = jnp.concatenate([x, deter], -1) @ self.w_cell
        return latent_scan.gates(parts, deter, self.norm_cell)
