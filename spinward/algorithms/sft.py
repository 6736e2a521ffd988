"""Supervised fine-tuning: the maximum-likelihood language model of given completions, the first of
three steps from texts to a policy that people prefer (Ouyang et al., 2022,
arXiv:2203.02155, section 3.5).

Departs from the paper: Adam at a step size that falls linearly, no dropout, and, without a model to
start from, a small model from scratch.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.core import Key, Memory, Metrics, Reader, Spec, Transition, config, struct
from spinward.experience.text_settings import check_start, optimiser, with_start
from spinward.experience.wanted import Texts
from spinward.learning import texts
from spinward.learning.minibatches import means
from spinward.learning.steps import Learner, descend, linear_schedule
from spinward.networks.decoder import Decoder, Shape
from spinward.networks.language_policy import Trained, policy, trained


@struct
class Agent:
    learner: Learner
    updates: Array


@config
class SFT:
    batch: int = 32  # texts in each gradient step
    updates: int = 10  # gradient steps in each iteration
    lr: float = 1e-3  # Adam step size
    anneal_updates: int = 0  # gradient steps over which lr falls linearly to 0; 0 keeps it
    max_grad_norm: float = 1.0  # global norm gradients are clipped to
    accumulate: int = 1  # batches whose gradients are averaged into one step
    lora: int = 0  # rank of a low-rank change to train in place of all weights; 0: all
    bfloat16: bool = False  # compute in bfloat16; trained parameters stay float32
    remat: bool = False  # recompute activations for the gradient, to save memory
    rollout: int = 64  # tokens of a generated text at most
    temperature: float = 1.0  # by which logits are divided, in generation
    family: str = "llama"  # of a model from scratch: gpt2, llama, qwen2 or qwen3
    layers: int = 2  # of a model from scratch
    width: int = 64  # of a model from scratch
    heads: int = 4  # of a model from scratch
    context: int = 64  # tokens that a model from scratch can read
    start: Any = None  # the model to start from; --model names it

    def opened(self, reader: Reader) -> "SFT":
        return with_start(self, reader)

    def check(self, spec: Spec) -> None:
        check_start(self, spec, needed=False)

    def wants(self, spec: Spec) -> Texts:
        context = self.context if self.start is None else self.start.shape.context
        return Texts("completions", self.updates, self.batch, context)

    def shape(self, spec: Spec) -> Shape:
        vocab: Any = spec.action
        sizes = self.width, self.layers, self.heads, self.context
        return Shape.small(vocab.n, *sizes, self.family)

    def init(self, key: Key, spec: Spec) -> Agent:
        start = Decoder.init(key, self.shape(spec)) if self.start is None else self.start
        model = trained(key, start, self.lora)
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
        predicted, _, _ = policy(self, model, temperature=1.0).unroll(batch)
        log_prob = predicted.log_prob(batch.action)
        right = (predicted.mode() == batch.action).astype(log_prob.dtype)
        metrics = means({"nll": -log_prob, "accuracy": right}, batch.weight)
        return metrics["nll"], metrics
