"""Makes rlax_returns.json: what RLax says of returns, advantages and V-trace.

RLax knows no truncation, so each episode is a call of its own, with the value of its last state.
RLax is no dependency: run this where it is installed (made with rlax 0.1.9 and jax 0.10.2).

    pip install rlax && python tests/literals/rlax_returns.py
"""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import rlax

TIME, GAMMA, LAM, N = 14, 0.95, 0.8, 3
CLIP_RHO, CLIP_C = 1.0, 1.0  # RLax fixes the second
TERMINATED, TRUNCATED = (3, 9), (6,)  # the last row ends with the rollout


def inputs():
    """One environment: [time]."""
    random = np.random.default_rng(1)
    reward, value, log_ratio = np.round(random.normal(size=(3, TIME)), 4)
    next_value = np.append(value[1:], 0.7)
    next_value[[*TERMINATED, *TRUNCATED]] = (1.3, -0.4, 0.9)
    at = np.arange(TIME)
    flags = {"terminated": np.isin(at, TERMINATED), "truncated": np.isin(at, TRUNCATED)}
    rows = {"reward": reward, "value": value, "next_value": next_value, "log_ratio": log_ratio}
    return {k: v.astype(np.float32) for k, v in rows.items()} | flags


def of_episode(x):
    """What RLax makes of one episode."""
    discount = GAMMA * (1.0 - x["terminated"].astype(np.float32))
    reward, v, following = x["reward"], x["value"], x["next_value"]
    returns = rlax.discounted_returns(reward, discount, following)
    values = jnp.append(v, following[-1])
    trace = rlax.vtrace_td_error_and_advantage(
        v, following, reward, discount, jnp.exp(x["log_ratio"]), LAM, CLIP_RHO, CLIP_RHO
    )
    return {
        "reward_to_go": returns,
        "total_return": jnp.full_like(returns, returns[0]),
        "td_target": reward + discount * following,
        "n_step_return": rlax.n_step_bootstrapped_returns(reward, discount, following, N),
        "lambda_return": rlax.lambda_returns(reward, discount, following, LAM),
        "gae": rlax.truncated_generalized_advantage_estimation(reward, discount, LAM, values),
        "vtrace_target": trace.errors + v,
        "vtrace_advantage": trace.pg_advantage,
    }


def main():
    x = inputs()
    cuts = np.flatnonzero(x["terminated"] | x["truncated"]) + 1
    parts = np.split(np.arange(TIME), cuts)
    found = [of_episode({k: jnp.asarray(v[part]) for k, v in x.items()}) for part in parts]
    out = {k: np.concatenate([f[k] for f in found]).astype(float).tolist() for k in found[0]}
    content = {
        "settings": {"gamma": GAMMA, "lam": LAM, "n": N},
        "inputs": {k: v.tolist() for k, v in x.items()},
        "outputs": {k: [round(y, 6) for y in v] for k, v in out.items()},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
