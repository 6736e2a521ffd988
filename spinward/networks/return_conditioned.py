"""A policy that reads what is still to be earned, what it saw and what it did, step by step (Chen
et al., 2021, arXiv:2106.01345)."""

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Discrete, Key, Obs, Spec, replace, static, struct
from spinward.networks.attention import attention
from spinward.networks.decoder import causal
from spinward.networks.distributions import forbid
from spinward.networks.heads import width as outputs
from spinward.networks.layers import Linear
from spinward.networks.torso import Torso, mask
from spinward.networks.transformer import INIT_STD, Layer, Norm, Shape, norm

TOKENS = 3  # of each step: the return to go, the observation, the action


@struct
class PastSteps:
    """The last steps of an episode [batch, time], right-aligned: before the first there is
    padding."""

    obs: Obs
    action: Array  # of the newest step anything: the policy does not read it
    to_go: Array  # scaled
    time: Array  # steps before each in the episode
    valid: Array  # false where there is padding


@struct
class ReturnConditioned:
    """A causal transformer over three tokens of each step; actions are read out at the
    observations. The position of a step is its time in the episode, and of a token its kind."""

    torso: Torso
    obs: Linear
    to_go: Linear
    action: Linear
    times: Array  # [longest, width]
    first: Norm
    layers: Layer
    last: Norm
    head: Linear
    spec: Spec = static()

    @classmethod
    def init(
        cls, key: Key, spec: Spec, width: int, layers: int, heads: int, longest: int
    ) -> "ReturnConditioned":
        k_torso, k_obs, k_to_go, k_action, k_times, k_layers, k_head = jax.random.split(key, 7)
        shape = Shape.small(1, width, layers, heads, family="gpt2")
        torso, features, _ = Torso.init(k_torso, spec.obs, (), "relu")
        size = outputs(spec.action)
        return cls(
            torso,
            Linear.init(k_obs, features, width),
            Linear.init(k_to_go, 1, width),
            Linear.init(k_action, size, width),
            INIT_STD * jax.random.normal(k_times, (longest, width)),
            norm(shape),
            Layer.init(k_layers, shape),
            norm(shape),
            Linear.init(k_head, width, size, 0.01),
            replace(spec, envs=1),
        )

    def __call__(self, context: PastSteps) -> Array:
        """The logits of choices, or numbers in [-1, 1], at each step [batch, time, ...]."""
        hidden = self.hidden(self.embedded(context), context.valid)
        x = self.head(hidden[:, 1::TOKENS])
        if isinstance(self.spec.action, Discrete):
            return forbid(x, mask(context.obs))
        return jnp.tanh(x).reshape(*x.shape[:2], *self.spec.action.shape)

    def embedded(self, context: PastSteps) -> Array:
        """The tokens [batch, 3 * time, width]."""
        when = jnp.take(self.times, context.time, 0, mode="clip")
        space, action = self.spec.action, context.action
        action = jax.nn.one_hot(action, space.n) if isinstance(space, Discrete) else action
        parts = (
            self.to_go(context.to_go[..., None]),
            self.obs(self.torso(context.obs)),
            self.action(action.reshape(*context.time.shape, -1)),
        )
        tokens = jnp.stack([part + when for part in parts], 2)
        return tokens.reshape(len(tokens), -1, tokens.shape[-1])

    def hidden(self, x: Array, valid: Array) -> Array:
        valid = jnp.repeat(valid, TOKENS, 1)
        allowed = valid[:, None, :] & causal(x.shape[1])
        x = self.first(x)
        for at in range(len(self.layers.q.w)):
            layer: Layer = jax.tree.map(lambda leaf, at=at: leaf[at], self.layers)
            q, k, v = layer.read(x, None)
            x = layer.write(x, attention(q, k, v, allowed))
        return self.last(x)
