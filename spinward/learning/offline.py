"""Functions shared by the algorithms that learn from logged data: the scales of the data, and the
values of logged actions."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, Metrics, Obs, Spec, Transition, replace, struct
from spinward.learning.minibatches import mean, means
from spinward.losses.offline import effective_share
from spinward.networks.critic import ChoiceCritics
from spinward.networks.distributions import pick
from spinward.networks.normaliser import ObsNormaliser
from spinward.targets.diagnostics import QProbe
from spinward.targets.returns import total_return


@struct
class Scales:
    """What the agent reads observations and rewards by. It is a part of the policy: nothing else is
    needed to act."""

    obs: ObsNormaliser
    reward: Array  # what rewards are multiplied by

    @classmethod
    def init(cls, spec: Spec) -> "Scales":
        return cls(ObsNormaliser.init(spec), jnp.float32(1.0))


class Scaled(Protocol):
    """The settings of the scales of the data."""

    @property
    def normalise_obs(self) -> bool: ...


def fit(scales: Scales, steps: Transition, return_range: float | Array = 0.0) -> Scales:
    """The scales of logged `steps` [rows, 1, ...]: of observations their mean and standard
    deviation, and of rewards the factor with which the returns of the episodes have this range; 0
    leaves the rewards (Kostrikov et al., 2021, arXiv:2110.06169, section 5.2)."""
    returns = total_return(steps, jnp.zeros_like(steps.reward), 1.0)
    span = jnp.maximum(returns.max() - returns.min(), 1e-6)
    asked = jnp.float32(return_range)
    reward = jnp.where(asked > 0.0, asked / span, 1.0)
    return Scales(scales.obs.add(steps.obs, steps.weight), reward)


def seen(settings: Scaled, scales: Scales, obs: Obs) -> Obs:
    """Observations as the networks read them."""
    return scales.obs(obs) if settings.normalise_obs else obs


def read(settings: Scaled, scales: Scales, batch: Transition) -> Transition:
    """A batch as the networks read it."""
    obs, next_obs = (seen(settings, scales, x) for x in (batch.obs, batch.next_obs))
    return replace(batch, obs=obs, next_obs=next_obs, reward=scales.reward * batch.reward)


def repeated(obs: Obs, count: int) -> Obs:
    """Observations [count, ...], the same so many times: a critic reads an action in each."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), obs)


def values_of(critic: Any, obs: Obs, action: Array) -> Array:
    """The values [critics, ...] of actions, whether there is a choice or a range of them."""
    if isinstance(critic, ChoiceCritics):
        return pick(critic(obs), action)
    return critic(obs, action)  # type: ignore[no-any-return]


def probe(settings: Scaled, scales: Scales, critic: Any, target: Any, batch: Transition) -> QProbe:
    """The diagnostics' inputs at steps [row], in the unit of the environment's rewards."""
    obs = seen(settings, scales, batch.obs)
    if isinstance(critic, ChoiceCritics):
        each = critic(obs)
        q, lagged, mean = each.min(0), target(obs).min(0), pick(each.mean(0), batch.action)
        value, features = pick(q, batch.action), critic.features(obs)
    else:
        each = critic(obs, batch.action)
        q, lagged = (x.min(0)[:, None] for x in (each, target(obs, batch.action)))
        value, mean, features = q[:, 0], each.mean(0), critic.features(obs, batch.action)
    q, lagged, value, mean = (x / scales.reward for x in (q, lagged, value, mean))
    return QProbe(q, lagged, value, mean, features)


def weight_metrics(weight: Array, most: float | Array, steps: Array) -> Metrics:
    """How the likelihoods are weighted: the share of weights at their limit, where the order of
    advantages is lost, and the share of a batch that counts."""
    at_most = weight >= most * (1.0 - 1e-6)
    return {
        "clipped_share": mean(at_most, steps),
        "effective_share": effective_share(weight * steps),
        "advantage_weight": mean(weight, steps),
    }


def act(settings: Scaled, agent: Any, obs: Obs, key: Key, explore: bool) -> Array:
    """An action of the agent's policy, within its bounds; without `explore` the likeliest."""
    policy = agent.actor.model(seen(settings, agent.scales, obs))
    action = policy.sample(key) if explore else policy.mode()
    return within(action)


def log_prob(settings: Scaled, agent: Any, batch: Transition) -> Array:
    """The log-probabilities of the actions of a batch under the agent's policy."""
    policy = agent.actor.model(seen(settings, agent.scales, batch.obs))
    return policy.log_prob(batch.action)  # type: ignore[no-any-return]


def within(action: Array) -> Array:
    """A choice as it is, and numbers clipped to [-1, 1]."""
    return action if jnp.issubdtype(action.dtype, jnp.integer) else jnp.clip(action, -1.0, 1.0)


def cosine(lr: float | Array, updates: Array, over: int) -> float | Array:
    """`lr` after so many updates, falling to 0 by half a cosine; constant if `over` is 0."""
    if not over:
        return lr
    return lr * 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.minimum(updates / float(over), 1.0)))


def weighted_nll(actor: Any, batch: Transition, weight: Array) -> tuple[Array, Metrics]:
    """The negative log-likelihood of the logged actions, each times its weight."""
    nll = -weight * actor(batch.obs).log_prob(batch.action)
    return means({"loss": nll}, batch.weight)["loss"], {}
