"""Model-based value expansion (Feinberg et al., 2018, arXiv:1803.00101) and its stochastic
ensemble, STEVE (Buckman et al., 2018, arXiv:1807.01675): DDPG, TD3 or SAC, whose targets look some
imagined steps ahead.

Departs from the papers: a member of the ensemble predicts state and reward together; members share
their samples; the models learn along with the values, without steps of their own before.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from spinward.algorithms.ddpg import DDPG
from spinward.algorithms.sac import SAC
from spinward.algorithms.td3 import TD3
from spinward.core import (
    Box,
    Key,
    Memory,
    Metrics,
    Obs,
    Spec,
    Transition,
    config,
    replace,
    static,
    struct,
)
from spinward.errors import SettingsError
from spinward.experience.batches import check_vectors
from spinward.experience.wanted import Samples, samples
from spinward.learning.steps import Learner, adam, descend
from spinward.models import ending
from spinward.models.branched import EnsembleWorld
from spinward.models.diagnostics import disagreement, member_errors
from spinward.models.dynamics import Dynamics, VectorScale
from spinward.models.ending import EndClassifier
from spinward.models.expanded import Path, imagined_path
from spinward.models.fitting import loss as model_loss
from spinward.models.imagined import never
from spinward.models.sampled import SampledSteps
from spinward.networks.critic import Critics
from spinward.structs import shared
from spinward.targets.diagnostics import QProbe, running_max
from spinward.targets.expansion import BLENDS, blend_weights, candidates, from_each_step, reach
from spinward.targets.soft import smoothed

BASES = {"ddpg": DDPG, "td3": TD3, "sac": SAC}
SLOWEST = 1e-3  # rate at which the scales of the models' inputs and targets still change


@struct
class Agent:
    base: Any  # the agent of DDPG, TD3 or SAC
    learner: Learner  # of the models
    end: Any  # a Learner of the ends; () where they are known
    inputs: VectorScale
    targets: VectorScale
    updates: Array
    spec: Spec = static()


@config
class MVE:
    base: str = "ddpg"  # whose targets look ahead: ddpg, td3 or sac
    blend: str = "uncertainty"  # of targets: fixed (MVE), mean, lambda or uncertainty (STEVE)
    ahead: int = 3  # imagined steps at most; 0 is the base alone
    lam: float = 0.5  # weight of the next target, where targets are blended by lambda
    fit_imagined: bool = True  # with a fixed horizon, fit values at imagined states too
    envs: int = 1  # environments stepped side by side
    rollout: int = 2  # steps of each between updates
    updates: int = 2  # gradient steps after them; with td3 a multiple of `delay`
    batch: int = 256  # samples in each gradient step
    capacity: int = 1_000_000  # env steps kept for replay
    warmup: int = 10_000  # random env steps before the first update
    models: int = 4  # of the environment, side by side
    model_hidden: tuple[int, ...] = (128, 128)  # widths of their hidden layers
    model_lr: float = 1e-3  # Adam step size of the models
    learn_terminal: bool = True  # learn which steps terminate; if not, `terminal` knows
    critics: int = 4  # of ddpg; td3 and sac have two
    lr: float = 1e-3  # Adam step size of actor and critics
    gamma: float = 0.99  # discount per step
    tau: float = 0.005  # step of the target networks after each update
    noise: float = 0.1  # standard deviation of the exploration noise of ddpg and td3
    correlation: float = 0.0  # correlation of the exploration noise between steps
    delay: int = 2  # updates of td3's critics for each of its actor and of its targets
    target_noise: float = 0.2  # standard deviation of the noise on td3's target action
    noise_limit: float = 0.5  # bound of that noise
    alpha: float = 1.0  # initial temperature of sac
    learn_alpha: bool = True  # adapt the temperature to the target entropy
    entropy_per_action: float = -1.0  # target entropy, in nats for each dimension of an action
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    terminal: Callable[[Array], Array] = never  # whether an observation ends the episode

    def check(self, spec: Spec) -> None:
        for name, given, known in (("base", self.base, BASES), ("blend", self.blend, BLENDS)):
            if given not in known:
                raise SettingsError(f"{name}={given!r} must be one of {', '.join(known)}")
        check_vectors("mve", spec)
        if self.turn < 1 or self.updates % self.turn:
            raise SettingsError(f"updates={self.updates} is no multiple of delay={self.delay}")
        self.values.check(spec)
        if self.blend == "uncertainty" and self.models < 2:
            raise SettingsError(
                f"models={self.models} have no spread, which blend='uncertainty' goes by: use two"
            )

    def wants(self, spec: Spec) -> Samples:
        return samples(self)

    @property
    def turn(self) -> int:
        """The updates between two changes of the target networks."""
        return self.delay if self.base == "td3" else 1

    @property
    def values(self) -> Any:
        """The algorithm that learns the values, with one turn of updates."""
        settings: Any = replace(shared(BASES[self.base], self), updates=self.turn)
        if self.base != "ddpg":
            return settings

        def several(
            key: Key, spec: Spec, hidden: tuple[int, ...], activation: str, critics: int
        ) -> Critics:
            return Critics.init(key, spec, hidden, activation, self.critics)

        return replace(settings, critic=several)

    def init(self, key: Key, spec: Spec) -> Agent:
        k_base, k_models, k_end = jax.random.split(key, 3)
        assert isinstance(spec.obs, Box) and isinstance(spec.action, Box)
        sizes = spec.obs.size, spec.action.size
        model = Dynamics.init(k_models, self.models, *sizes, self.model_hidden)
        end: Any = ()
        if self.learn_terminal:
            classifier = EndClassifier.init(k_end, *sizes, self.model_hidden)
            end = Learner.init(classifier, self.optimiser)
        learner = Learner.init(model.members, self.optimiser)
        base = self.values.init(k_base, spec)
        return Agent(base, learner, end, model.inputs, model.targets, jnp.int32(0), spec)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        return adam(self.model_lr)

    def memory(self, agent: Agent, envs: int) -> Memory:
        return self.values.memory(agent.base, envs)

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        return self.values.act(agent.base, obs, memory, key, explore)

    def dynamics(self, agent: Agent) -> Dynamics:
        return Dynamics(agent.learner.model, agent.inputs, agent.targets, False)

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Agent, Metrics]:
        rate = jnp.maximum(1.0 / (agent.updates + 1.0), SLOWEST)
        inputs, targets, known = SampledSteps.of(batches).everything()
        scales = {
            "inputs": agent.inputs.nearer(VectorScale.of(inputs, known), rate),
            "targets": agent.targets.nearer(VectorScale.of(targets, known), rate),
        }
        agent = replace(agent, updates=agent.updates + 1, **scales)
        turns = self.updates // self.turn
        data = jax.tree.map(lambda x: x.reshape(turns, self.turn, *x.shape[1:]), batches)
        data = data, jax.random.split(key, turns)
        agent, metrics = jax.lax.scan(lambda agent, x: self.improved(agent, *x), agent, data)
        return agent, running_max(metrics)

    def improved(self, agent: Agent, batches: Transition, key: Key) -> tuple[Agent, Metrics]:
        """The agent after one gradient step of its models, and one turn of its values."""
        k_fit, k_ahead, k_values = jax.random.split(key, 3)
        steps = SampledSteps.of(batches)
        agent, modelled = self.modelled(agent, steps, k_fit)
        end = agent.end.model if self.learn_terminal else ()
        model = self.dynamics(agent)
        every = jnp.arange(self.models)
        world = EnsembleWorld(model, every, end, agent.spec, self.terminal)
        modelled |= {
            "model_error": member_errors(model, steps).mean(),
            "model_disagreement": disagreement(model, steps.obs, steps.action).mean(),
        }

        def expand(batch: Transition, key: Key) -> tuple[Transition, Metrics]:
            return self.expanded(agent, world, batch, key)

        first = jax.tree.map(lambda x: x[:, 0], batches)
        expanded, blended = jax.vmap(expand)(first, jax.random.split(k_ahead, self.turn))
        expanded = jax.tree.map(lambda x: x[:, None], expanded)
        base, metrics = self.values.update(agent.base, expanded, k_values)
        metrics = jax.tree.map(jnp.mean, running_max(metrics) | blended)
        largest = {"max_reward": jnp.abs(batches.reward).max()}  # and not the largest target
        return replace(agent, base=base), {**metrics, **modelled, **largest}

    def modelled(self, agent: Agent, steps: SampledSteps, key: Key) -> tuple[Agent, Metrics]:
        """The agent after one gradient step of its models on sampled steps that are not held
        out."""
        model = self.dynamics(agent)
        rows = steps.sample(key, (self.models, self.batch))
        inputs, targets = steps.taken(rows)
        data = model.inputs(inputs), model.targets(targets)
        learner, metrics = descend(model_loss, self.optimiser, agent.learner, *data)
        end, fitted = agent.end, {"model_loss": metrics["loss"]}
        if self.learn_terminal:
            fields = steps.obs, steps.action, steps.next_obs, steps.terminated
            taken = [jnp.take(x, rows[0], 0) for x in fields]
            end, ended = descend(ending.loss, self.optimiser, agent.end, model, *taken)
            fitted["end_loss"] = ended["loss"]
        return replace(agent, learner=learner, end=end), fitted

    def expanded(
        self, agent: Agent, world: EnsembleWorld, first: Transition, key: Key
    ) -> tuple[Transition, Metrics]:
        """Steps for the base, whose targets are known: real ones, and with a fixed horizon the
        imagined ones too, weighted by the probability of reaching them."""
        k_path, k_member = jax.random.split(key)

        def valued(obs: Array, key: Key) -> tuple[Array, Array, Array]:
            return ahead_of(self.values, agent.base, obs, key)

        path = imagined_path(world, valued, first, self.ahead, self.gamma, k_path)
        means, variance = self.pooled(path)
        weights = blend_weights(self.blend, variance, self.lam)
        batch = with_target(first, (weights * means).sum(0))
        number = jnp.arange(self.ahead + 1.0)[:, None]
        metrics = {"mean_horizon": (number * weights).sum(0).mean()}
        if self.blend != "fixed" or not self.fit_imagined or not self.ahead:
            return batch, metrics
        member = jax.random.randint(k_member, (), 0, self.models)
        imagined = self.imagined_steps(path, first, member)
        both: Transition = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), batch, imagined)
        return both, metrics

    def pooled(self, path: Path) -> tuple[Array, Array]:
        """The mean and the variance [steps + 1, batch] of each candidate over models and critics;
        TD3 and SAC have the smaller of their critics in the mean."""
        reward, discount = path.reward[:, None], path.discount[:, None]
        targets = candidates(reward, discount, path.value)
        over = targets.mean(1) if self.base == "ddpg" else targets.min(1)
        return over.mean(1), targets.var((1, 2))

    def imagined_steps(self, path: Path, first: Transition, member: Array) -> Transition:
        """The imagined steps [steps * batch] of one member, with their targets."""
        last = path.value[-1].mean(0) if self.base == "ddpg" else path.value[-1].min(0)
        target = from_each_step(path.reward, path.discount, last)[1:] - path.bonus
        weight = reach(path.discount / jnp.maximum(self.gamma, 1e-6))[1:] * first.weight
        parts = path.obs, path.action, target, weight
        obs, action, target, weight = (
            x[:, member].reshape(-1, *x.shape[3:]) for x in parts
        )  # fmt: skip
        no = jnp.zeros(target.shape, bool)
        steps = Transition(obs, action, target, no, no, obs, weight, first.extras)
        return with_target(steps, target)

    def probe(self, agent: Agent, batch: Transition) -> QProbe:
        probe: QProbe = self.values.probe(agent.base, batch)
        return probe


def with_target(steps: Transition, target: Array) -> Transition:
    """Steps whose value is known: a reward of as much, after which nothing counts."""
    yes = jnp.ones(target.shape, bool)
    return replace(steps, reward=target, terminated=yes, truncated=~yes, extras={})


def ahead_of(base: Any, agent: Any, obs: Array, key: Key) -> tuple[Array, Array, Array]:
    """The action of the target's policy, the entropy bonus for it, and its values [critics, ...] by
    the target critics, as the base has them."""
    match base:
        case DDPG():
            actor, critic = agent.target
            action = actor(obs)
        case TD3():
            actor, critic = agent.target
            action = smoothed(actor(obs), key, base.target_noise, base.noise_limit)
        case _:
            critic = agent.target
            action, log_prob = agent.actor.model(obs).draw(key)
            return action, -jnp.exp(agent.log_alpha.model) * log_prob, critic(obs, action)
    return action, jnp.zeros(obs.shape[:-1]), critic(obs, action)
