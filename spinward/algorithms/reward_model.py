"""A reward model: a score of texts that predicts human preferences, the second of three steps
(Ziegler et al., 2019, arXiv:1909.08593; Ouyang et al., 2022, arXiv:2203.02155, (1)).

Departs from the papers: Adam at a step size that falls linearly; scores are
scaled to mean 0 and standard deviation 1 by rewards/reward_model_score.py, on the policy's first
completions, as in Ziegler et al.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.algorithms.sft import Agent
from spinward.core import Key, Memory, Metrics, Reader, Spec, Transition, config
from spinward.experience.text_settings import check_start, optimiser, with_start
from spinward.experience.wanted import Texts
from spinward.learning import texts
from spinward.learning.steps import Learner, descend, linear_schedule
from spinward.losses.preference import ranking
from spinward.networks.language_policy import Trained, policy, score_head, scores, trained


@config
class RewardModel:
    batch: int = 32  # comparisons in each gradient step
    updates: int = 8  # gradient steps in each iteration
    lr: float = 1e-5  # Adam step size
    anneal_updates: int = 0  # gradient steps over which lr falls linearly to 0; 0 keeps it
    max_grad_norm: float = 1.0  # global norm gradients are clipped to
    accumulate: int = 1  # batches whose gradients are averaged into one step
    lora: int = 0  # rank of a low-rank change to train in place of all weights; 0: all
    bfloat16: bool = False  # compute in bfloat16; trained parameters stay float32
    remat: bool = False  # recompute activations for the gradient, to save memory
    rollout: int = 64  # tokens of a generated text at most
    temperature: float = 1.0  # by which logits are divided, in generation
    start: Any = None  # the model to start from; --model names it

    def opened(self, reader: Reader) -> "RewardModel":
        return with_start(self, reader)

    def check(self, spec: Spec) -> None:
        check_start(self, spec)

    def wants(self, spec: Spec) -> Texts:
        return Texts("pairs", self.updates, self.batch, self.start.shape.context)

    def init(self, key: Key, spec: Spec) -> Agent:
        k_model, k_head = jax.random.split(key)
        head = score_head(k_head, self.start.shape.width)
        model = trained(k_model, self.start, self.lora, head)
        return Agent(Learner.init(model, optimiser(self, self.lr)), jnp.int32(0))

    def memory(self, agent: Agent, envs: int) -> Memory:
        return texts.memory(self, agent, envs)

    def act(
        self, agent: Agent, obs: Array, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        return texts.act(self, agent, obs, memory, key, explore)

    def update(self, agent: Agent, batches: Transition, key: Key) -> tuple[Agent, Metrics]:
        def step(agent: Agent, batch: Transition) -> tuple[Agent, Metrics]:
            lr = linear_schedule(self.lr, agent.updates, self.anneal_updates)
            learner, metrics = descend(self.loss, optimiser(self, lr), agent.learner, batch)
            return Agent(learner, agent.updates + 1), metrics

        return jax.lax.scan(step, agent, batches)

    def validate(self, agent: Agent, batch: Transition) -> Metrics:
        """Metrics of a batch that is not learned from."""
        return self.loss(agent.learner.model, batch)[1]

    def loss(self, model: Trained, batch: Transition) -> tuple[Array, Metrics]:
        """The loss of texts [time, env], in consecutive pairs of chosen and rejected."""
        score = scores(policy(self, model), batch).reshape(-1, 2)
        better, worse = score.T
        loss = ranking(score).mean()
        return loss, {
            "pair_loss": loss,
            "accuracy": (better > worse).astype(jnp.float32).mean(),
            "margin": (better - worse).mean(),
            "score_mean": score.mean(),
            "score_std": score.std(),
        }
