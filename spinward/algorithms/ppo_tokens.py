"""Proximal policy optimisation of a language model, close to the starting model (Ziegler et al.,
2019, arXiv:1909.08593; Stiennon et al., 2020, arXiv:2009.01325; Ouyang et al., 2022).

It is `ppo.py` on texts, with the same loss, advantages and epochs. An action is a token, an episode
is a completion, and the reward of each token includes the penalty -beta (log pi - log pi_ref).

Departs from the papers: the value is a head on the policy's network, as in Ziegler et al., not a
separate model; its loss is not clipped; a truncated completion does not bootstrap from a value.
"""

from typing import Any

import jax.numpy as jnp
from jax import Array

from spinward.algorithms.ppo import ppo_loss
from spinward.core import Key, Memory, Metrics, Reader, Spec, Transition, config, replace, struct
from spinward.errors import SettingsError
from spinward.experience.batches import check_minibatches
from spinward.experience.text_settings import check_start, optimiser, with_start
from spinward.experience.wanted import Prompts
from spinward.learning import texts
from spinward.learning.minibatches import mean, run_epochs
from spinward.learning.steps import Learner, annealed, descend
from spinward.losses.divergence import k2, k3
from spinward.losses.policy import proportional
from spinward.losses.tokens import total
from spinward.networks.language_policy import (
    Trained,
    policy,
    reference,
    trained,
    value_head,
)
from spinward.targets.advantages import gae

KL_IN = {"reward": None, "loss_k2": k2, "loss_k3": k3}


@struct
class Agent:
    learner: Learner
    kl_coef: Array
    updates: Array


@config
class PPOTokens:
    envs: int = 64  # completions between updates
    rollout: int = 32  # tokens of a completion at most
    lr: float = 1e-5  # Adam step size
    anneal_steps: int = 0  # tokens over which lr falls linearly to 0; 0 keeps it
    gamma: float = 1.0  # discount per token
    lam: float = 0.95  # GAE's lambda
    clip: float = 0.2  # how far the ratio may leave 1 before its gradient stops
    value_coef: float = 0.1  # weight of the value loss
    entropy_coef: float = 0.0  # weight of the entropy bonus
    kl_coef: float = 0.05  # beta: coefficient of the divergence from the starting model, per nat
    kl_in: str = "reward"  # where that divergence counts: reward, loss_k2 or loss_k3
    kl_target: float = 0.0  # nats per completion that beta adapts to; 0: beta is constant
    kl_horizon: float = 10_000.0  # completions in which beta changes by about a fifth at most
    max_grad_norm: float = 1.0  # global norm gradients are clipped to
    epochs: int = 4  # passes over each batch
    minibatches: int = 1  # gradient steps per pass
    accumulate: int = 1  # minibatches whose gradients are averaged into one step
    lora: int = 0  # rank of a low-rank change to train in place of all weights; 0: all
    bfloat16: bool = False  # compute in bfloat16; trained parameters stay float32
    remat: bool = False  # recompute activations for the gradient, to save memory
    temperature: float = 1.0  # by which logits are divided, in generation and in learning
    start: Any = None  # the model to start from; --model names it

    def opened(self, reader: Reader) -> "PPOTokens":
        return with_start(self, reader)

    def check(self, spec: Spec) -> None:
        check_start(self, spec)
        check_minibatches(self.envs, self.rollout, self.epochs, self.minibatches, "tokens")
        if self.kl_in not in KL_IN:
            raise SettingsError(f"kl_in={self.kl_in!r} is not one of {', '.join(KL_IN)}")

    def wants(self, spec: Spec) -> Prompts:
        return Prompts(self.envs, self.rollout, context=self.start.shape.context)

    def init(self, key: Key, spec: Spec) -> Agent:
        head = value_head(self.start.shape.width)
        model = trained(key, self.start, self.lora, head)
        learner = Learner.init(model, optimiser(self, self.lr))
        return Agent(learner, jnp.float32(self.kl_coef), jnp.int32(0))

    def memory(self, agent: Agent, envs: int) -> Memory:
        return texts.memory(self, agent, envs)

    def act(
        self, agent: Agent, obs: Array, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        return texts.act_with_log_prob(self, agent, obs, memory, key, explore)

    def update(self, agent: Agent, batch: Transition, key: Key) -> tuple[Agent, Metrics]:
        before = reference(self, batch)
        log_ratio = batch.weight * (batch.extras["log_prob"] - before)
        penalty = agent.kl_coef * log_ratio if self.kl_in == "reward" else 0.0
        penalised = replace(batch, reward=batch.reward - penalty)
        _, value, next_value = policy(self, agent.learner.model).unroll(batch)
        advantage = gae(penalised, value, next_value, self.gamma, self.lam)
        lr = annealed(self, self.lr, agent.updates)

        def step(learner: Learner, part: tuple[Any, ...]) -> tuple[Learner, Metrics]:
            return descend(self.loss, optimiser(self, lr), learner, *part, agent.kl_coef)

        data = (penalised, advantage, advantage + value, before)
        learner, metrics = run_epochs(
            step, agent.learner, data, key, self.epochs, self.minibatches, sequential=True
        )
        kl = total(log_ratio, batch.weight).mean()
        share = self.envs / self.kl_horizon
        adapted = proportional(agent.kl_coef, kl, jnp.maximum(self.kl_target, 1e-6), share)
        kl_coef = jnp.where(self.kl_target > 0.0, adapted, agent.kl_coef)
        measured = {"kl": kl, "kl_coef": agent.kl_coef, "score": batch.reward.sum(0).mean()}
        return Agent(learner, kl_coef, agent.updates + 1), {**metrics, **measured, "lr": lr}

    def loss(
        self,
        model: Trained,
        batch: Transition,
        advantage: Array,
        returns: Array,
        before: Array,
        kl_coef: Array,
    ) -> tuple[Array, Metrics]:
        """The loss of PPO, with the KL penalty where the penalty is not part of the reward."""
        tokens = policy(self, model)
        loss, metrics = ppo_loss(self, tokens, batch, advantage, returns)
        estimate = KL_IN[self.kl_in]
        if estimate is None:
            return loss, metrics
        log_ratio = tokens.unroll(batch)[0].log_prob(batch.action) - before
        kl_loss = mean(estimate(log_ratio), batch.weight)
        return loss + kl_coef * kl_loss, {**metrics, "kl_loss": kl_loss}
