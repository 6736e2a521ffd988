"""Model-based policy optimisation (Janner et al., 2019, arXiv:1906.08253): SAC, most of whose
samples are short imagined rollouts that branch off from real states.

Departs from the paper: the real steps, the models' fit, the imagined steps and the updates between
two fits follow one another, and do not alternate in each step; models are fitted to samples of the
replay, with one weight decay for all layers; an end is learned where it is not known.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from spinward.algorithms import sac
from spinward.algorithms.sac import SAC
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
from spinward.experience.batches import check_bounded, check_stored, check_vectors
from spinward.experience.wanted import Samples, rows, samples
from spinward.learning import critics
from spinward.learning.steps import Learner, adam
from spinward.models.branched import EnsembleWorld, ImaginedSteps, branched
from spinward.models.diagnostics import diagnosed, member_errors, or_diverged
from spinward.models.dynamics import Dynamics, VectorScale
from spinward.models.ending import EndClassifier, fit_end
from spinward.models.fitting import fit, optimiser
from spinward.models.imagined import never
from spinward.models.sampled import SampledSteps
from spinward.networks.critic import Critics, GaussianActor
from spinward.structs import shared
from spinward.targets.diagnostics import QProbe

OWN_KEY = np.uint32(2**32 - 1)  # folded into SAC's keys: no split of them gives the same key


@struct
class Agent:
    base: sac.Agent
    learner: Learner  # of the models
    end: Any  # a Learner of the ends; () where they are known
    inputs: VectorScale
    targets: VectorScale
    imagined: ImaginedSteps
    spec: Spec = static()


@config
class MBPO:
    envs: int = 1  # environments stepped side by side
    rollout: int = 250  # real steps of each between fits of the models
    updates: int = 5_000  # SAC's gradient steps after a fit
    batch: int = 256  # samples in each of these
    real: int = 13  # of these samples, so many are real; the others are imagined
    capacity: int = 1_000_000  # real steps kept for replay
    warmup: int = 5_000  # random real steps before the first update
    window: int = 5  # real steps in a row in each sample, to measure the models over
    models: int = 7  # of the environment, side by side
    elites: int = 5  # of these, the best on held-out steps, which imagine
    model_hidden: tuple[int, ...] = (200, 200, 200, 200)  # widths of their hidden layers
    model_lr: float = 1e-3  # Adam step size of the models
    decay: float = 5e-5  # weight decay of the models
    model_batch: int = 256  # rows in each of their gradient steps
    minibatches: int = 50  # such steps between evaluations on held-out rows
    epochs: int = 40  # evaluations in one fit at most
    patience: int = 5  # evaluations without a gain after which a fit ends
    imagined: int = 100_000  # rollouts that are imagined after each fit
    branch: float = 1.0  # steps of these, rounded down; a schedule makes them grow
    branch_limit: int = 1  # the most steps that `branch` comes to
    kept: int = 4  # fits whose imagined steps are kept
    learn_terminal: bool = True  # learn which steps terminate; if not, `terminal` knows
    lr: float = 3e-4  # Adam step size of actor, critics and temperature
    gamma: float = 0.99  # discount per step
    tau: float = 0.005  # step of the target critics after each update
    alpha: float = 1.0  # initial temperature
    learn_alpha: bool = True  # adapt the temperature to the target entropy
    entropy_per_action: float = -1.0  # target entropy, in nats for each dimension of an action
    correlation: float = 0.0  # correlation of the exploration noise between steps
    hidden: tuple[int, ...] = (256, 256)  # widths of the hidden layers
    activation: str = "relu"  # between hidden layers: tanh, relu, swish or elu
    actor: Callable[..., Any] = GaussianActor.init  # builds the policy network
    critic: Callable[..., Any] = Critics.init  # builds the networks of values
    terminal: Callable[[Array], Array] = never  # whether an observation ends the episode

    def check(self, spec: Spec) -> None:
        check_bounded("mbpo", spec)
        check_vectors("mbpo", spec)
        check_stored(self)
        if not 1 <= self.real <= self.batch:
            raise SettingsError(f"real={self.real} must be from 1 to batch={self.batch}")
        if not 1 <= self.elites <= self.models:
            raise SettingsError(f"elites={self.elites} must be from 1 to models={self.models}")
        if self.imagined % self.elites:
            raise SettingsError(
                f"imagined={self.imagined} is no multiple of elites={self.elites}, each of which "
                "imagines as many steps"
            )
        want = self.wants(spec)
        if min(rows(want, self.warmup), rows(want, self.capacity) - self.rollout) < self.window:
            raise SettingsError(
                f"window={self.window} is more than the steps of each environment in "
                f"warmup={self.warmup}, or in capacity={self.capacity} less a rollout"
            )

    def wants(self, spec: Spec) -> Samples:
        return replace(samples(self, self.window), batch=self.real)

    @property
    def sac(self) -> SAC:
        return shared(SAC, self)

    def init(self, key: Key, spec: Spec) -> Agent:
        k_base, k_models, k_end = jax.random.split(key, 3)
        assert isinstance(spec.obs, Box) and isinstance(spec.action, Box)
        sizes = spec.obs.size, spec.action.size
        model = Dynamics.init(k_models, self.models, *sizes, self.model_hidden)
        learner = Learner.init(model.members, optimiser(self.model_lr, self.decay))
        end: Any = ()
        if self.learn_terminal:
            classifier = EndClassifier.init(k_end, *sizes, self.model_hidden)
            end = Learner.init(classifier, adam(self.model_lr))
        ring = ImaginedSteps.init(spec, self.kept * self.imagined * self.branch_limit)
        base = self.sac.init(k_base, spec)
        return Agent(base, learner, end, model.inputs, model.targets, ring, spec)

    def memory(self, agent: Agent, envs: int) -> Memory:
        return self.sac.memory(agent.base, envs)

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        return self.sac.act(agent.base, obs, memory, key, explore)

    def dynamics(self, agent: Agent) -> Dynamics:
        return Dynamics(agent.learner.model, agent.inputs, agent.targets, True)

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Agent, Metrics]:
        steps = SampledSteps.of(batches)
        k_fit, k_imagine = jax.random.split(jax.random.fold_in(key, OWN_KEY))
        agent, world, fitted = self.modelled(agent, steps, batches, k_fit)
        ring, length, dreamt = self.imagine(agent, world, steps, k_imagine)
        newest = self.kept * self.imagined * length

        def improved(base: sac.Agent, batch: Transition, key: Key) -> tuple[sac.Agent, Metrics]:
            if count := self.batch - self.real:
                batch = joined(batch, ring.sample(jax.random.fold_in(key, OWN_KEY), count, newest))
            return self.sac.improved(base, batch, key)

        first = jax.tree.map(lambda x: x[:, :1], batches)  # of each window, for SAC
        base, metrics = critics.scan_steps(improved, agent.base, first, key)
        return replace(agent, base=base, imagined=ring), {**metrics, **fitted, **dreamt}

    def modelled(
        self, agent: Agent, steps: SampledSteps, batches: Transition, key: Key
    ) -> tuple[Agent, EnsembleWorld, Metrics]:
        """The agent with models fitted to the sampled steps, the world that these make, and how
        good they are."""
        k_fit, k_end = jax.random.split(key)
        model = self.dynamics(agent)
        learner, model, fitted = fit(
            agent.learner, model, steps, k_fit, self.model_lr, self.decay, self.model_batch,
            self.minibatches, self.epochs, self.patience,
        )  # fmt: skip
        end, classifier = agent.end, ()
        if self.learn_terminal:
            end, ended = fit_end(
                end, model, steps, k_end, adam(self.model_lr), self.model_batch, self.minibatches
            )
            fitted, classifier = fitted | ended, end.model
        errors = member_errors(model, steps)
        fitted["model_error"] = or_diverged(errors.mean())
        elites = jnp.argsort(errors)[: self.elites]
        world = EnsembleWorld(model, elites, classifier, agent.spec, self.terminal)
        fitted |= diagnosed(model, model, steps, jax.tree.map(lambda x: x[0], batches))
        scales = {"inputs": model.inputs, "targets": model.targets}
        return replace(agent, learner=learner, end=end, **scales), world, fitted

    def imagine(
        self, agent: Agent, world: EnsembleWorld, steps: SampledSteps, key: Key
    ) -> tuple[ImaginedSteps, Array, Metrics]:
        """The ring with rollouts of the policy from sampled real states, and their length."""
        k_start, k_run = jax.random.split(key)
        starts = steps.starts(k_start, self.imagined)
        length = jnp.clip(jnp.floor(self.branch), 1, self.branch_limit).astype(jnp.int32)

        def act(obs: Array, key: Key) -> Array:
            return agent.base.actor.model(obs).sample(key)

        ring, metrics = branched(world, act, starts, length, agent.imagined, k_run)
        return ring, length, metrics | {"branch": length}

    def probe(self, agent: Agent, batch: Transition) -> QProbe:
        return self.sac.probe(agent.base, batch)


def joined(real: Transition, imagined: Transition) -> Transition:
    """Real steps [1, batch] and imagined ones [batch] side by side."""
    real = replace(real, extras={})
    both: Transition = jax.tree.map(
        lambda a, b: jnp.concatenate([a, b[None].astype(a.dtype)], 1), real, imagined
    )
    return both
