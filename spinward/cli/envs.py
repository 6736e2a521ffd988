"""`spinward envs`: Spinward's environments, and the names of other packages' environments."""

from typing import Any

from spinward.cli.parser import Parser, print_json

OTHERS = {
    "gymnasium:ID": "any id registered in Gymnasium; needs its prefix where we have our own",
    "ALE/ID": "Atari by Gymnasium, 84x84, sticky actions; needs the extra atari",
    "envpool:ID": "Atari and MuJoCo by EnvPool, in threads; needs the extra envpool",
    "gymnax:ID": "gymnax's, on device; needs the extra gymnax",
    "jumanji:ID": "Jumanji's, on device; needs the extra jumanji",
    "craftax:ID": "Craftax's, on device; needs the extra craftax",
    "navix:ID": "Navix's grids, on device; needs the extra navix",
    "brax:ID": "Brax's robots, on device; needs the extra brax",
    "playground:ID": "MuJoCo Playground's robots, on device; needs the extra playground",
    "pgx:ID": "Pgx's games for two, on device; needs the extra pgx",
    "module:Class": "anybody's: a gymnasium.Env, or one with reset and step in JAX",
}


def run(words: list[str]) -> int:
    parser = Parser("envs", "List the environments.")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    ask = parser.read(words)
    from spinward.envs import ids

    rows = []
    for name in ids.own_names():
        spec = ids.make(name).spec
        rows.append({"name": name, "obs": shapes(spec.obs), "action": str(spec.action)})
    if ask.json:
        print_json({"own": rows, "others": OTHERS})
        return 0
    for row in rows:
        print(f"{row['name']:<26}obs {row['obs']:<14} {row['action']}")
    print("\nOthers, by name:")
    for name, about in OTHERS.items():
        print(f"{name:<26}{about}")
    return 0


def shapes(obs: Any) -> str:
    """The shape of an observation, or those of its parts."""
    from spinward.core import Dict

    if isinstance(obs, Dict):
        return ", ".join(f"{name} {box.shape}" for name, box in obs.items)
    return str(obs.shape)
