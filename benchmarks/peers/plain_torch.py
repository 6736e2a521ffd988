"""PPO with the network of Nature's DQN in plain PyTorch on EnvPool's Atari, on one thread.

What a careful user of PyTorch would write by hand. Training time leaves out the first iteration.
"""

from typing import Any

import envpool
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from benchmarks import measure
from benchmarks.envpool_cost import envpool_cpu_s


class Network(nn.Module):
    """Three convolutions and one layer of 512 units, shared by policy and value."""

    def __init__(self, actions: int) -> None:
        super().__init__()
        self.torso = nn.Sequential(
            *(orthogonal(nn.Conv2d(4, 32, 8, 4)), nn.ReLU()),
            *(orthogonal(nn.Conv2d(32, 64, 4, 2)), nn.ReLU()),
            *(orthogonal(nn.Conv2d(64, 64, 3, 1)), nn.ReLU(), nn.Flatten()),
            *(orthogonal(nn.Linear(64 * 7 * 7, 512)), nn.ReLU()),
        )
        self.policy = orthogonal(nn.Linear(512, actions), 0.01)
        self.value = orthogonal(nn.Linear(512, 1), 1.0)

    def forward(self, frames: Tensor) -> tuple[Categorical, Tensor]:
        features = self.torso(frames.float() / 255)
        return Categorical(logits=self.policy(features)), self.value(features)[:, 0]


def orthogonal(layer: Any, gain: float = 2**0.5) -> Any:
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


class Rollout:
    """One batch of experience, [time, env, ...], and the environments it comes from."""

    def __init__(self, ask: measure.Request) -> None:
        self.steps, self.envs = ask.settings["steps"], ask.settings["envs"]
        options = {"num_envs": self.envs, "num_threads": 1, "seed": ask.seed, "reward_clip": True}
        self.pool = envpool.make(ask.env, env_type="gymnasium", **options)
        self.frames = torch.zeros(self.steps, self.envs, 4, 84, 84, dtype=torch.uint8)
        self.action = torch.zeros(self.steps, self.envs, dtype=torch.int64)
        self.log_prob, self.value, self.reward, self.done = torch.zeros(4, self.steps, self.envs)
        self.next_frames = torch.from_numpy(self.pool.reset()[0])
        self.running_return = np.zeros(self.envs)
        self.returns: list[float] = []

    @torch.no_grad()
    def collect(self, network: Network) -> None:
        for t in range(self.steps):
            policy, self.value[t] = network(self.next_frames)
            action = policy.sample()
            self.frames[t], self.action[t] = self.next_frames, action
            self.log_prob[t] = policy.log_prob(action)
            frames, reward, terminated, truncated, info = self.pool.step(action.numpy())
            done = terminated | truncated
            self.reward[t], self.done[t] = torch.from_numpy(reward), torch.from_numpy(done).float()
            self.next_frames = torch.from_numpy(frames)
            self.running_return += info["reward"]
            self.returns += self.running_return[done].tolist()
            self.running_return[done] = 0

    @torch.no_grad()
    def advantage(self, network: Network, gamma: float, lam: float) -> Tensor:
        """Generalised advantages, [time, env]."""
        following, carried = network(self.next_frames)[1], torch.zeros(self.envs)
        advantage = torch.zeros_like(self.reward)
        for t in reversed(range(self.steps)):
            alive = 1 - self.done[t]
            error = self.reward[t] + gamma * alive * following - self.value[t]
            carried = error + gamma * lam * alive * carried
            advantage[t], following = carried, self.value[t]
        return advantage


def update(
    network: Network, optimiser: torch.optim.Optimizer, rollout: Rollout, chosen: dict[str, Any]
) -> None:
    """All epochs of PPO on one batch."""
    advantage = rollout.advantage(network, chosen["gamma"], chosen["lam"]).flatten()
    target = advantage + rollout.value.flatten()
    frames, action = rollout.frames.flatten(0, 1), rollout.action.flatten()
    log_prob = rollout.log_prob.flatten()
    for _ in range(chosen["epochs"]):
        for rows in torch.randperm(len(action)).chunk(chosen["minibatches"]):
            policy, value = network(frames[rows])
            ratio = (policy.log_prob(action[rows]) - log_prob[rows]).exp()
            gain = advantage[rows]
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)
            clipped = ratio.clamp(1 - chosen["clip"], 1 + chosen["clip"])
            policy_loss = -torch.min(ratio * gain, clipped * gain).mean()
            value_loss = 0.5 * (value - target[rows]).square().mean()
            loss = policy_loss + chosen["value_coef"] * value_loss
            loss = loss - chosen["entropy_coef"] * policy.entropy().mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), chosen["max_grad_norm"])
            optimiser.step()


def main() -> None:
    ask = measure.request()
    torch.set_num_threads(1)
    torch.manual_seed(ask.seed)
    rollout = Rollout(ask)
    network = Network(int(rollout.pool.action_space.n))
    optimiser = torch.optim.Adam(network.parameters(), ask.settings["lr"], eps=1e-5)
    batch = rollout.steps * rollout.envs
    iterations = -(-ask.env_steps // batch)
    started = measure.spent()
    for iteration in range(iterations):
        rollout.collect(network)
        update(network, optimiser, rollout, ask.settings)
        if iteration == 0:
            started = measure.spent()
    total = measure.spent()
    trained = (iterations - 1) * batch
    measure.report(
        "torch",
        total=total,
        started=started,
        train=measure.between(started, total),
        env_steps=iterations * batch,
        env_steps_train=trained,
        final_return=float(np.mean(rollout.returns[-100:])) if rollout.returns else None,
        return_kind="last 100 training episodes",
        env_cpu_s=envpool_cpu_s(ask.env, rollout.envs, trained),
        torch=torch.__version__,
    )


if __name__ == "__main__":
    main()
