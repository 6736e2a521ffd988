"""Group-relative policy optimisation (Shao et al., 2024, arXiv:2402.03300): the
completions of a prompt are one another's baseline, so that no value is learned.

Settings select later variants: `aggregation`, `clip_higher` and `mask_truncated` to DAPO
(Yu et al., 2025, arXiv:2503.14476), `scaled` off and `aggregation` constant to Dr. GRPO (Liu et
al., 2025, arXiv:2503.20783), `leave_one_out` to RLOO (Ahmadian et al., 2024, arXiv:2402.14740), and
`whole_ratio` to GSPO (Zheng et al., 2025, arXiv:2507.18071).

Departs from the paper: the KL penalty may be part of the reward, or the loss k2, whose gradient is
that of KL(pi || pi_ref); the gradient of the paper's k3 is that of KL(pi_ref || pi).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from spinward.algorithms.ppo_tokens import KL_IN
from spinward.algorithms.sft import Agent
from spinward.core import Key, Memory, Metrics, Reader, Spec, Transition, config, replace
from spinward.errors import SettingsError
from spinward.experience.batches import check_minibatches
from spinward.experience.generation import without_prompts
from spinward.experience.text_settings import check_start, optimiser, with_start
from spinward.experience.wanted import Prompts
from spinward.learning import texts
from spinward.learning.minibatches import run_epochs
from spinward.learning.steps import Learner, annealed, descend_on_sum
from spinward.losses.policy import clipped_surrogate
from spinward.losses.tokens import AGGREGATIONS, average, shares, total
from spinward.networks.language_policy import (
    Trained,
    log_prob_and_entropy,
    policy,
    reference,
    trained,
)
from spinward.targets.groups import group_advantage, grouped, leave_one_out

MEANS = ("entropy", "approx_kl", "clip_fraction")  # metrics per token, which are summed over parts
TEXTS = 8  # in each part of a batch on CPU: with 16 or 32 an iteration takes 3 % longer


@config
class GRPO:
    envs: int = 64  # completions between updates
    group: int = 8  # of them for each prompt
    rollout: int = 32  # tokens of a completion at most
    lr: float = 1e-6  # Adam step size
    anneal_steps: int = 0  # tokens over which lr falls linearly to 0; 0 keeps it
    scaled: bool = True  # divide advantages by the group's standard deviation of scores
    leave_one_out: bool = False  # the baseline is the mean of the others alone (RLOO)
    clip: float = 0.2  # how far the ratio may leave 1 before its gradient stops
    clip_higher: float = 0.2  # the same, above 1
    whole_ratio: bool = False  # one ratio for each completion (GSPO), not for each token
    aggregation: str = "sequence"  # unit of equal weight in the loss: sequence, token or constant
    mask_truncated: bool = False  # give truncated completions weight 0
    kl_coef: float = 0.04  # beta: coefficient of the divergence from the starting model, per nat
    kl_in: str = "loss_k3"  # where that divergence counts: reward, loss_k2 or loss_k3, or empty
    measure_kl: bool = True  # measure that divergence also where it does not count
    max_grad_norm: float = 1.0  # global norm gradients are clipped to
    epochs: int = 1  # passes over each batch
    minibatches: int = 1  # gradient steps per pass
    accumulate: int = 1  # minibatches whose gradients are averaged into one step
    lora: int = 0  # rank of a low-rank change to train in place of all weights; 0: all
    bfloat16: bool = False  # compute in bfloat16; trained parameters stay float32
    remat: bool = False  # recompute activations for the gradient, to save memory
    temperature: float = 1.0  # by which logits are divided, in generation and in learning
    start: Any = None  # the model to start from; --model names it

    def opened(self, reader: Reader) -> "GRPO":
        return with_start(self, reader)

    def check(self, spec: Spec) -> None:
        check_start(self, spec)
        check_minibatches(self.envs, self.rollout, self.epochs, self.minibatches, "tokens")
        if self.group < 2:
            raise SettingsError(
                f"group={self.group} must be at least 2: the others are the baseline"
            )
        for name, known in (("kl_in", (*KL_IN, "")), ("aggregation", AGGREGATIONS)):
            if getattr(self, name) not in known:
                expected = ", ".join(filter(None, known))
                raise SettingsError(f"{name}={getattr(self, name)!r} is not one of {expected}")

    def wants(self, spec: Spec) -> Prompts:
        return Prompts(self.envs, self.rollout, self.group, self.start.shape.context)

    def init(self, key: Key, spec: Spec) -> Agent:
        model = trained(key, self.start, self.lora)
        return Agent(Learner.init(model, optimiser(self, self.lr)), jnp.int32(0))

    def advantage(self, score: Array) -> Array:
        """The advantage [env] of each completion over the others of its group."""
        if self.leave_one_out:
            return leave_one_out(score, self.group)
        return group_advantage(score, self.group, self.scaled)

    def memory(self, agent: Agent, envs: int) -> Memory:
        return texts.memory(self, agent, envs)

    def act(
        self, agent: Agent, obs: Array, memory: Memory, key: Key, explore: bool = True
    ) -> tuple[Array, Memory, dict[str, Any]]:
        return texts.act_with_log_prob(self, agent, obs, memory, key, explore)

    def update(self, agent: Agent, batch: Transition, key: Key) -> tuple[Agent, Metrics]:
        batch = without_prompts(batch, self.rollout)
        log_prob, score = batch.extras["log_prob"], batch.reward.sum(0)
        known = bool(self.kl_in) or self.measure_kl
        before = reference(self, batch, group=self.group) if known else log_prob
        kl = total(log_prob - before, batch.weight)
        penalised = score - self.kl_coef * kl if self.kl_in == "reward" else score
        advantage = self.advantage(penalised)
        measured = {"score": score.mean()} | ({"kl": kl.mean()} if known else {})
        measured["groups_alike"] = (grouped(score, self.group).std(-1) == 0.0).mean()
        if self.mask_truncated:
            batch = replace(batch, weight=batch.weight * ~batch.truncated.any(0))
        share = shares(batch.weight, self.aggregation, self.rollout)
        lr = annealed(self, self.lr, agent.updates)

        def step(learner: Learner, part: tuple[Any, ...]) -> tuple[Learner, Metrics]:
            return descend_on_sum(self.loss, optimiser(self, lr), learner, *self.parts(part))

        row = jnp.broadcast_to(advantage, batch.weight.shape)
        data = (batch, row, before, self.minibatches * share)
        if self.minibatches == 1:  # not shuffled, so that a group's prompt is read once
            learner, metrics = jax.lax.scan(
                lambda learner, _: step(learner, data), agent.learner, length=self.epochs
            )
        else:
            learner, metrics = run_epochs(
                step, agent.learner, data, key, self.epochs, self.minibatches, sequential=True
            )
        count = jnp.maximum(metrics.pop("tokens"), 1.0)
        metrics |= {name: metrics[name] / count for name in MEANS}
        return Agent(learner, agent.updates + 1), {**metrics, **measured, "lr": lr}

    def parts(self, data: Any) -> Any:
        """`data` [time, env] as [part, time, env]: parts of whole groups, of about the number of
        texts with the fastest gradient."""
        envs = data[1].shape[1]
        groups = -(-envs // self.group)
        on_cpu = jax.default_backend() == "cpu"  # a GPU has no such cache to fit
        wanted = max(1, min(groups, envs // TEXTS)) if on_cpu else 1
        count = next(n for n in range(wanted, 0, -1) if groups % n == 0 and envs % n == 0)
        return jax.tree.map(lambda x: jnp.moveaxis(x.reshape(len(x), count, -1), 1, 0), data)

    def loss(
        self, model: Trained, batch: Transition, advantage: Array, before: Array, share: Array
    ) -> tuple[Array, Metrics]:
        group = self.group if self.minibatches == 1 else 1
        distribution, _, _ = policy(self, model).unroll(batch, group)
        log_prob, entropy = log_prob_and_entropy(distribution, batch.action)
        log_ratio = batch.weight * (log_prob - batch.extras["log_prob"])
        if self.whole_ratio:
            log_ratio = jnp.broadcast_to(average(log_ratio, batch.weight), log_ratio.shape)
        surrogate = clipped_surrogate(log_ratio, advantage, self.clip, self.clip_higher)
        ratio = jnp.exp(log_ratio)
        outside = (ratio < 1.0 - self.clip) | (ratio > 1.0 + self.clip_higher)
        losses = {
            "entropy": entropy,
            "approx_kl": ratio - 1.0 - log_ratio,
            "clip_fraction": outside.astype(jnp.float32),
        }
        metrics = {name: (batch.weight * values).sum() for name, values in losses.items()}
        metrics |= {"tokens": batch.weight.sum(), "policy_loss": (share * surrogate).sum()}
        estimate = KL_IN.get(self.kl_in)
        if estimate is None:
            return metrics["policy_loss"], metrics
        kl_loss = (share * estimate(batch.weight * (log_prob - before))).sum()
        return metrics["policy_loss"] + self.kl_coef * kl_loss, {**metrics, "kl_loss": kl_loss}
