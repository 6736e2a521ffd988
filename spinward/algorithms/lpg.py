"""Learned policy gradient (Oh et al., 2020, arXiv:2007.08794): an agent trained by a learned
update rule in place of a designed loss. `lpg_meta.py` learns such rules.

Departs from the paper: the successor of a truncated step keeps its prediction, and only termination
is an input of the rule; rewards are scaled, so that one rule fits small and large rewards. Departs
from public code: the gradient that trains rules flows through the agent's outputs that the rule
reads, without which predictions can become meaningless.
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

import spinward
from spinward.core import (
    Discrete,
    Key,
    Memory,
    Metrics,
    Obs,
    Reader,
    Spec,
    Transition,
    config,
    no_memory,
    replace,
    struct,
)
from spinward.errors import SettingsError
from spinward.experience.wanted import Rollouts
from spinward.learning.minibatches import means
from spinward.learning.steps import Learner, descend, rmsprop, with_clipping
from spinward.networks.distributions import Categorical
from spinward.networks.normaliser import RewardScaler
from spinward.networks.rule import Predicting, Rule
from spinward.networks.table import states

OURS = Path(spinward.__file__).parent / "assets" / "lpg_rule"
OF_A_RUN = "agent.learner.model."  # where a run of `lpg_meta` has its rules [seed]
DESCENTS = ("adam", "rmsprop", "sgd")


@dataclasses.dataclass(frozen=True)
class Learned:
    """A rule as a setting, compared by its digest."""

    digest: str
    rule: Any = dataclasses.field(compare=False, repr=False)


@struct
class Agent:
    learner: Learner  # of a `Predicting`
    rule: Any  # a Rule
    scaler: RewardScaler
    updates: Array


@config
class LPG:
    rule: str = ""  # a folder with a rule, or a run of lpg_meta; empty: ours, if it is installed
    envs: int = 16  # environments stepped side by side
    rollout: int = 20  # steps of each between updates
    lr: float = 1e-3  # step size
    descent: str = "adam"  # by adam, rmsprop as in A2C, or sgd, which is by plain steps
    gamma: float = 0.95  # discount per step, which is an input of the rule
    normalise_reward: bool = True  # divide rewards by the standard deviation of the return
    kl_coef: float = 0.5  # weight of the loss of predictions
    max_grad_norm: float = 0.5  # global norm gradients are clipped to
    tabular: bool = False  # tables over states, in place of networks
    hidden: tuple[int, ...] = (64, 64)  # widths of the hidden layers
    activation: str = "tanh"  # between hidden layers: tanh, relu, swish or elu
    learned: Learned | None = None  # the rule itself, where no file is read

    memory = staticmethod(no_memory)

    def opened(self, reader: Reader) -> "LPG":
        """With the rule that `rule` names."""
        if self.learned is not None:
            raise SettingsError(
                "learned is for the loop alone: a run's settings are words, so save the rule "
                "(spinward.run.learned.save) and name its folder by rule"
            )
        if not (self.rule or OURS.is_dir()):
            raise SettingsError(
                "rule='' names none, and none came with this installation: learn one "
                "(spinward train lpg_meta Grid-Small) and give its run by --rule"
            )
        leaves = reader.arrays(Path(self.rule or OURS))
        return replace(self, learned=rule_of(*leaves, self.rule or "ours"))

    def check(self, spec: Spec) -> None:
        if not isinstance(spec.action, Discrete):
            raise SettingsError(f"LPG's rules are made for one discrete action, not {spec.action}")
        if self.descent not in DESCENTS:
            expected = ", ".join(DESCENTS)
            raise SettingsError(f"descent={self.descent!r} is not one of {expected}")
        if self.tabular:
            states(spec.obs)

    def wants(self, spec: Spec) -> Rollouts:
        return Rollouts(self.envs, self.rollout)

    def optimiser(self) -> optax.GradientTransformation:
        if self.descent == "rmsprop":
            return rmsprop(self.lr, self.max_grad_norm)
        # eps_root, because rules are trained through these steps, and a root has no gradient at 0.
        adam = optax.adam(self.lr, eps_root=1e-10)
        return with_clipping(
            self.max_grad_norm, optax.sgd(self.lr) if self.descent == "sgd" else adam
        )

    def init(self, key: Key, spec: Spec) -> Agent:
        """An agent with the rule `learned`, or with an untrained rule where there is none."""
        k_rule, k_model = jax.random.split(key)
        rule = self.learned.rule if self.learned else Rule.init(k_rule, 8, 32)
        rule = jax.tree.map(jnp.asarray, rule)
        learner = self.learner(k_model, spec, rule.predictions)
        return Agent(learner, rule, RewardScaler.init(spec), jnp.int32(0))

    def learner(self, key: Key, spec: Spec, predictions: int) -> Learner:
        sizes = (self.hidden, self.activation, predictions, self.tabular)
        return Learner.init(Predicting.init(key, spec, *sizes), self.optimiser())

    def act(
        self, agent: Agent, obs: Obs, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        policy = agent.learner.model(obs)
        return policy.sample(key) if explore else policy.mode(), memory, {}

    def update(self, agent: Agent, batch: Transition, key: Key) -> tuple[Agent, Metrics]:
        scaler = agent.scaler
        if self.normalise_reward:
            scaler = scaler.add(batch, self.gamma)
            batch = replace(batch, reward=scaler(batch.reward))
        # Outside the loss: constants for the agent's gradient, but not for the rule's.
        model = agent.learner.model
        policy, y, next_y = model.unroll(batch)
        prob = jnp.exp(policy.log_prob(batch.action))
        read = prob, jax.nn.softmax(y), jax.nn.softmax(next_y)
        outputs = agent.rule(batch, self.gamma, *read)
        learner, metrics = descend(self.loss, self.optimiser(), agent.learner, batch, *outputs)
        return Agent(learner, agent.rule, scaler, agent.updates + 1), metrics

    def loss(
        self, model: Any, batch: Transition, policy_output: Array, prediction_target: Array
    ) -> tuple[Array, Metrics]:
        """The loss whose gradient is the rule's update (Oh et al., 2020, (2))."""
        policy, y, _ = model.unroll(batch)
        # Not losses.policy_gradient, which stops the gradient that trains rules.
        losses = {
            "policy_loss": -policy.log_prob(batch.action) * policy_output,
            "prediction_loss": Categorical(prediction_target).kl_from(Categorical(y)),
            "entropy": policy.entropy(),
            "prediction_entropy": Categorical(y).entropy(),
            "policy_output_square": jnp.square(policy_output),
            "prediction_target_square": jnp.square(jax.nn.softmax(prediction_target)).sum(-1),
        }
        metrics = means(losses, batch.weight)
        return metrics["policy_loss"] + self.kl_coef * metrics["prediction_loss"], metrics


def rule_of(
    leaves: dict[str, np.ndarray], info: dict[str, Any], place: str, seed: int = 0
) -> Learned:
    """The rule in the arrays of a file, or the rule of one seed of a run.

    Raises: SettingsError: the arrays are not a rule, or their shapes do not fit; the message names
    them.
    """
    by_name = {
        n.removeprefix(OF_A_RUN): x[seed] for n, x in leaves.items() if n.startswith(OF_A_RUN)
    }
    by_name = by_name or {n.removeprefix("rule."): x for n, x in leaves.items()}
    names = {"to_prediction.w", "cell.w"}
    if not all(n in by_name and by_name[n].ndim == 2 for n in names):
        raise SettingsError(
            f"rule={place!r} holds no rule: it has {', '.join(sorted(by_name)[:5])}"
        )
    sizes = by_name["to_prediction.w"].shape[1], by_name["cell.w"].shape[0]
    like = jax.eval_shape(lambda: Rule.init(jax.random.PRNGKey(0), *sizes))
    paths, tree = jax.tree_util.tree_flatten_with_path(like)
    wanted = {jax.tree_util.keystr(p, simple=True, separator="."): x.shape for p, x in paths}
    shapes = {name: x.shape for name, x in by_name.items()}
    if wrong := [n for n in sorted(wanted | shapes) if wanted.get(n) != shapes.get(n)]:
        faults = (
            f"{n} is {shapes.get(n, 'missing')}, not {wanted.get(n, 'present')}" for n in wrong
        )
        raise SettingsError(f"rule={place!r} does not fit: {'; '.join(faults)}")
    if not all(np.isfinite(x).all() for x in by_name.values()):
        raise SettingsError(f"rule={place!r} holds values that are not finite")
    digest = hashlib.sha256(b"".join(by_name[n].tobytes() for n in wanted)).hexdigest()
    return Learned(digest, jax.tree.unflatten(tree, [by_name[n] for n in wanted]))
