"""Recurrent Q-learning from replayed sequences (Kapturowski et al., 2019, "Recurrent experience
replay in distributed reinforcement learning"), with targets of Retrace, as Never Give Up has them.

Departs from the paper: Retrace in place of n-step targets; actors are environments side by side,
which act with the newest parameters; a sequence may go over the end of an episode.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.core import (
    Discrete,
    Key,
    Memory,
    Metrics,
    Obs,
    Spec,
    Transition,
    config,
    replace,
    struct,
)
from spinward.errors import SettingsError
from spinward.experience.batches import check_stored
from spinward.experience.layouts import ENV_REWARD
from spinward.experience.rollout import REWARD
from spinward.experience.wanted import Sequences, rows
from spinward.learning import Learner, adam, descend, means
from spinward.networks.distributions import pick
from spinward.networks.exploration import epsilon_greedy
from spinward.networks.recurrent import CELLS, MEMORY
from spinward.networks.recurrent_q import TOLD, RecurrentQ, part
from spinward.networks.torso import mask
from spinward.targets.network import following
from spinward.targets.retrace import cut_traces, greedy_probs, retrace, squashed, unsquashed

BEHAVIOUR = "behaviour"  # in a batch's extras: the probability with which the action was taken


@struct
class Agent:
    learner: Learner
    target: Any
    updates: Array


@config
class R2D2:
    envs: int = 32  # environments stepped side by side
    rollout: int = 20  # steps of each between updates; sequences begin so many steps apart
    updates: int = 8  # gradient steps after them
    batch: int = 16  # sequences in each gradient step
    burn_in: int = 4  # first steps of a sequence, which only warm its memory
    trace: int = 20  # steps of it that learn
    capacity: int = 100_000  # env steps kept for replay
    warmup: int = 3_200  # random env steps before the first update
    lr: float = 1e-3  # Adam step size
    eps: float = 1e-4  # added to what Adam divides by
    gamma: float = 0.99  # discount per step
    lam: float = 0.95  # Retrace's lambda
    squash: bool = True  # learn values under a transform that makes large ones small
    target_every: int = 25  # updates between copies of the target network
    epsilon: float = 0.4  # share of random actions in the most random environment
    epsilon_power: float = 2.0  # the least random has epsilon to the power of one more than this
    target_epsilon: float = 0.01  # share of random actions in the policy that is valued
    prioritised: bool = True  # draw sequences the more often, the larger their errors were
    priority_exponent: float = 0.9  # of the error in the odds of being drawn
    importance_exponent: float = 0.6  # of the weight that makes up for those odds
    priority_max: float = 0.9  # share of the largest error of a sequence in it, beside the mean
    max_grad_norm: float = 40.0  # global norm gradients are clipped to
    hidden: tuple[int, ...] = (64,)  # widths of the hidden layers; the last is the cell's
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    recurrent: str = "lstm"  # the memory: lstm or gru

    # Methods that take `self: Any` serve ngu.py too.

    def check(self: Any, spec: Spec) -> None:
        name = type(self).__name__
        if not isinstance(spec.action, Discrete):
            raise SettingsError(f"{name} needs one discrete action, not {spec.action}")
        if not spec.resets:
            raise SettingsError(f"{name} needs a spec with resets=True: it begins episodes anew")
        if self.recurrent not in CELLS:
            raise SettingsError(f"recurrent={self.recurrent!r} must be one of {', '.join(CELLS)}")
        if not self.hidden:
            raise SettingsError("hidden=() must end with the width of the memory")
        if self.trace < 1 or self.burn_in < 0:
            raise SettingsError(f"trace={self.trace} must be at least 1, burn_in={self.burn_in} 0")
        check_stored(replace(self, batch=1))
        want = self.wants(spec)
        held = min(rows(want, self.warmup), rows(want, self.capacity) - self.rollout)
        if held < self.window:
            raise SettingsError(
                f"burn_in + trace + 1 = {self.window} is more than there is of each environment in "
                f"warmup={self.warmup}, or in capacity={self.capacity} beside a rollout"
            )
        for share in ("gamma", "lam", "epsilon", "target_epsilon", "priority_max"):
            if hasattr(self, share) and not 0.0 <= getattr(self, share) <= 1.0:
                raise SettingsError(f"{share}={getattr(self, share)} must be between 0 and 1")

    @property
    def window(self: Any) -> int:
        """Steps of a sequence, and one that says what the network was told after the last."""
        return self.burn_in + self.trace + 1

    def told(self: Any, spec: Spec) -> int:
        """How many numbers the network is told beside an observation."""
        assert isinstance(spec.action, Discrete)
        return spec.action.n + 1

    def wants(self: Any, spec: Spec) -> Sequences:
        return Sequences(
            self.envs,
            self.rollout,
            self.updates,
            self.batch,
            self.window,
            self.capacity,
            self.warmup,
            wander,
            self.prioritised,
            self.priority_exponent,
            self.importance_exponent,
            extras=self.told(spec) + 4,
            memory=2 * self.hidden[-1],
        )

    def optimiser(self: Any, lr: float | Array) -> optax.GradientTransformation:
        return adam(lr, self.max_grad_norm, self.eps)

    def init(self, key: Key, spec: Spec) -> Agent:
        q = RecurrentQ.init(
            key, spec, self.hidden, self.activation, self.recurrent, self.told(spec)
        )
        return Agent(Learner.init(q, self.optimiser(self.lr)), q, jnp.int32(0))

    def memory(self: Any, agent: Any, envs: int) -> Memory:
        """What was done last, what it earned, and what the network remembers."""
        model = agent.learner.model
        return {
            "action": jnp.zeros((envs, model.actions)),
            REWARD: jnp.zeros(envs),
            "recurrent": model.memory(envs),
        }

    def epsilons(self: Any, envs: int) -> Array:
        """The share of random actions in each environment: epsilon^(1 + power i / (envs - 1))
        (Horgan et al., 2018, arXiv:1803.00933, section 4.1)."""
        place = jnp.arange(envs) / max(envs - 1, 1)
        return self.epsilon ** (1.0 + self.epsilon_power * place)

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        q, after = agent.learner.model.step(obs, told(memory), memory["recurrent"])
        epsilon = self.epsilons(q.shape[0]) if explore else jnp.zeros(q.shape[0])
        return chosen(q, obs, after, memory, key, epsilon)

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Agent, Metrics]:
        def step(agent: Agent, batch: Transition) -> tuple[Agent, Metrics]:
            rows, after = rows_of(batch, agent.learner.model.actions)
            learner, metrics = descend(
                self.loss,
                self.optimiser(self.lr),
                agent.learner,
                agent.target,
                rows,
                after,
                rows.reward,
                self.gamma,
            )
            updates = agent.updates + 1
            target = following(agent.target, learner.model, updates, self.target_every)
            return Agent(learner, target, updates), metrics

        return jax.lax.scan(step, agent, batches)

    def loss(
        self: Any,
        model: RecurrentQ,
        target: RecurrentQ,
        rows: Transition,
        after: Array,
        reward: Array,
        gamma: float | Array,
    ) -> tuple[Array, Metrics]:
        """Of windows [time, batch], of which `after` is what was told after each step. `reward` and
        `gamma` are of each step, so that a family of them can be learned at once."""
        q, later = model.unroll(rows, after, self.burn_in)
        lagged, ahead = target.unroll(rows, after, self.burn_in)
        rows = replace(part(rows, self.burn_in), reward=reward[self.burn_in :])
        gamma = jnp.broadcast_to(gamma, reward.shape)[self.burn_in :]
        plain, small = (unsquashed, squashed) if self.squash else (same, same)
        probs = greedy_probs(q, self.target_epsilon, mask(rows.obs))
        ahead_probs = greedy_probs(later, self.target_epsilon, mask(rows.next_obs))
        trace = cut_traces(probs, rows.action, rows.extras[BEHAVIOUR], self.lam)
        expected = (ahead_probs * plain(ahead)).sum(-1)
        goal = retrace(rows, plain(pick(lagged, rows.action)), expected, trace, gamma)
        value = pick(q, rows.action)
        error = small(goal) - value
        size = jnp.abs(error) * rows.weight
        loss = 0.5 * jnp.square(error) * rows.extras.get("importance", 1.0)
        metrics = means({"td_loss": loss, "td_error": size, "value": value}, rows.weight)
        if self.prioritised:
            share = self.priority_max
            metrics["priority"] = share * size.max(0) + (1.0 - share) * size.mean(0)
        return metrics["td_loss"], metrics


def same(x: Array) -> Array:
    return x


def told(memory: Memory) -> Array:
    """What the network is told beside an observation [env, numbers]: what was done last and what it
    earned; and in ngu.py which policy is in force, and the bonus of what is seen."""
    numbers = [memory["action"], squashed(memory[REWARD])[:, None]]
    rest = [memory[name] for name in ("policy", "bonus") if name in memory]
    return jnp.concatenate([*numbers, *rest], -1)


def chosen(
    q: Array, obs: Obs, after: Memory, memory: Memory, key: Key, epsilon: Array
) -> tuple[Array, Memory, dict[str, Any]]:
    """An action by the values `q` [env, actions], what is remembered of it, and what learning needs
    to know."""
    action = epsilon_greedy(q, obs, key, epsilon)
    behaviour = pick(greedy_probs(q, epsilon, mask(obs)), action)
    extras = {MEMORY: memory["recurrent"], TOLD: told(memory), BEHAVIOUR: behaviour}
    done = jax.nn.one_hot(action, q.shape[-1])
    return action, {**memory, "action": done, "recurrent": after}, extras


def wander(spec: Spec, obs: Obs, memory: Memory, key: Key) -> tuple[Array, Memory, dict[str, Any]]:
    """A random action, before there is an agent."""
    q = jnp.zeros_like(memory["action"])
    return chosen(q, obs, memory["recurrent"], memory, key, jnp.ones(len(q)))


def rows_of(window: Transition, actions: int) -> tuple[Transition, Array]:
    """The steps of a window but its last, and what the network was told after each of them
    [time, batch, numbers]: where an episode ended, what it would have been told."""
    rows = part(window, 0, -1)
    rest = rows.extras[TOLD][..., actions + 1 :]
    earned = rows.extras[ENV_REWARD]  # a policy hears the environment, not what labels its rewards
    last = [jax.nn.one_hot(rows.action, actions), squashed(earned)[..., None], rest]
    after = window.extras[TOLD][1:]
    return rows, jnp.where(rows.done[..., None], jnp.concatenate(last, -1), after)
