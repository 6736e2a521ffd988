"""Direct preference optimisation (Rafailov et al., 2023, arXiv:2305.18290): the policy is its own
reward model, beta log(pi / pi_ref), and learns from comparisons without generating texts.

Departs from the paper: Adam in place of RMSProp; `loss_type` may be the loss of IPO (Azar et al.,
2023, arXiv:2310.12036), and `sft_coef` adds the likelihood of the chosen completion (Pang et al.,
2024, arXiv:2404.19733), without which the likelihood of both completions may fall.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.algorithms.sft import Agent
from spinward.core import Key, Memory, Metrics, Reader, Spec, Transition, config
from spinward.errors import SettingsError
from spinward.experience.text_settings import check_start, optimiser, with_start
from spinward.experience.wanted import Texts
from spinward.learning import texts
from spinward.learning.steps import Learner, descend, linear_schedule
from spinward.losses.preference import dpo, ipo
from spinward.losses.tokens import average, total
from spinward.networks.language_policy import Trained, log_probs, policy, reference, trained

LOSSES = ("sigmoid", "ipo")


@config
class DPO:
    batch: int = 64  # comparisons in each gradient step
    updates: int = 4  # gradient steps in each iteration
    lr: float = 1e-6  # Adam step size
    anneal_updates: int = 0  # gradient steps over which lr falls linearly to 0; 0 keeps it
    beta: float = 0.1  # coefficient of the divergence from the starting model, per nat
    loss_type: str = "sigmoid"  # loss of the margin: sigmoid (DPO) or ipo
    smoothing: float = 0.0  # share of labels that are assumed to be wrong
    sft_coef: float = 0.0  # weight of the chosen completions' likelihood, per token
    max_grad_norm: float = 10.0  # global norm gradients are clipped to
    accumulate: int = 1  # batches whose gradients are averaged into one step
    lora: int = 0  # rank of a low-rank change to train in place of all weights; 0: all
    bfloat16: bool = False  # compute in bfloat16; trained parameters stay float32
    remat: bool = False  # recompute activations for the gradient, to save memory
    rollout: int = 64  # tokens of a generated text at most
    temperature: float = 1.0  # by which logits are divided, in generation
    start: Any = None  # the model to start from; --model names it

    def opened(self, reader: Reader) -> "DPO":
        return with_start(self, reader)

    def check(self, spec: Spec) -> None:
        check_start(self, spec)
        if self.loss_type not in LOSSES:
            raise SettingsError(f"loss_type={self.loss_type!r} is not one of {', '.join(LOSSES)}")

    def wants(self, spec: Spec) -> Texts:
        return Texts("pairs", self.updates, self.batch, self.start.shape.context)

    def init(self, key: Key, spec: Spec) -> Agent:
        model = trained(key, self.start, self.lora)
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
            before = reference(self, batch, temperature=1.0)
            learner, metrics = descend(self.loss, optimiser(self, lr), agent.learner, batch, before)
            return Agent(learner, agent.updates + 1), metrics

        return jax.lax.scan(step, agent, batches)

    def validate(self, agent: Agent, batch: Transition) -> Metrics:
        """Metrics of a batch that is not learned from."""
        return self.loss(agent.learner.model, batch, reference(self, batch, temperature=1.0))[1]

    def loss(self, model: Trained, batch: Transition, before: Array) -> tuple[Array, Metrics]:
        """The loss of texts [time, env], in consecutive pairs of chosen and rejected, with the
        log-probabilities of their tokens `before` training."""
        log_prob = log_probs(policy(self, model, temperature=1.0), batch)
        of_text = average if self.loss_type == "ipo" else total
        chosen, rejected = of_text(log_prob - before, batch.weight).reshape(-1, 2).T
        if self.loss_type == "ipo":
            loss = ipo(chosen, rejected, self.beta).mean()
        else:
            loss = dpo(chosen, rejected, self.beta, self.smoothing).mean()
        nll = -average(log_prob, batch.weight)[::2].mean()
        chosen_log_prob, rejected_log_prob = total(log_prob, batch.weight).reshape(-1, 2).T
        return loss + self.sft_coef * nll, {
            "preference_loss": loss,
            "nll": nll,
            "accuracy": (chosen > rejected).astype(jnp.float32).mean(),
            "margin": self.beta * (chosen - rejected).mean(),
            "chosen_log_prob": chosen_log_prob.mean(),
            "rejected_log_prob": rejected_log_prob.mean(),
        }
