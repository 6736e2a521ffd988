"""Plays the games of the `minatar` package and writes what happened to minatar_GAME.npz, here.

Run by hand, in an environment that has the package: python make_minatar_golden.py [GAME ...]
Each array has a row for each step: the game's variables before it (`before_...`, named as the
fields of our states), the `action`, what the game drew, and reward, end and planes after it.
"""

import sys
from pathlib import Path

import numpy as np
from minatar import Environment

STEPS, SEED = 2000, 7


class Recorder:
    """Stands for the game's random generator, and notes each number that it drew."""

    def __init__(self, random):
        self.random, self.drawn = random, []

    def __getattr__(self, name):
        def draw(*args, **kwargs):
            value = getattr(self.random, name)(*args, **kwargs)
            self.drawn.append(np.copy(value))  # the game may change the array it got
            return value

        return draw


class Breakout:
    name = "breakout"

    def start(self, game, random):
        """A full wall, a few bricks of it, or a single one, so that walls get cleared."""
        share = random.choice([1.0, 1.0, 0.3, 0.05])
        game.brick_map[1:4] *= random.random((3, 10)) < share

    def variables(self, game):
        return {
            "x": game.ball_x, "y": game.ball_y, "last_x": game.last_x, "last_y": game.last_y,
            "right": 1 if game.ball_dir in (1, 2) else -1, "down": 1 if game.ball_dir > 1 else -1,
            "paddle": game.pos, "bricks": game.brick_map[1:4].copy(), "strike": game.strike,
        }  # fmt: skip

    def action(self, game, random):
        """Mostly towards where the ball will be."""
        aim = game.ball_x + (1 if game.ball_dir in (1, 2) else -1)
        towards = 3 if aim > game.pos else 1 if aim < game.pos else 0
        return towards if random.random() < 0.8 else random.integers(6)

    def draws(self, drawn, before):
        return {}


class Asterix:
    name = "asterix"

    def start(self, game, random):
        """At the start of the ramp, or far along it."""
        if random.random() < 0.8:
            game.ramp_index, game.ramp_timer = int(random.integers(20)), int(random.integers(20))
            game.spawn_speed = int(random.integers(1, 11))
            game.move_speed = int(random.integers(1, 6))

    def variables(self, game):
        lanes = [e or (0, 0, False, None) for e in game.entities]
        kind = [{None: 0, False: 1, True: 2}[None if g is None else bool(g)] for *_, g in lanes]
        return {
            "x": game.player_x, "y": game.player_y, "kind": kind, "place": [e[0] for e in lanes],
            "right": [1 if e[2] else -1 for e in lanes], "spawn_speed": game.spawn_speed,
            "spawn_timer": game.spawn_timer, "move_speed": game.move_speed,
            "move_timer": game.move_timer, "ramp_timer": game.ramp_timer,
            "ramp_index": game.ramp_index,
        }  # fmt: skip

    def action(self, game, random):
        """Away from the lane of an enemy, and otherwise at random."""
        lane = game.entities[game.player_y - 1]
        if lane and not lane[3] and random.random() < 0.7:
            return random.choice([2, 4])
        return random.integers(6)

    def draws(self, drawn, before):
        right, gold, index = drawn if len(drawn) == 3 else (1, 1, None)
        free = np.flatnonzero(np.asarray(before["before_kind"]) == 0)
        lane = 8 if index is None else free[index]
        return {"spawn_right": right < 0.5, "spawn_gold": gold < 1 / 3, "spawn_lane": lane}


class Freeway:
    name = "freeway"

    def start(self, game, random):
        """The whole game, or the last part of it; the chicken anywhere."""
        game.pos = int(random.integers(1, 10))
        game.terminate_timer = int(random.choice([2500, 150, 30, 5]))

    def variables(self, game):
        place, _, timer, speed = (list(column) for column in zip(*game.cars, strict=True))
        return {
            "row": game.pos, "place": place, "speed": speed, "timer": timer,
            "move_timer": game.move_timer, "time": 2500 - game.terminate_timer,
        }  # fmt: skip

    def action(self, game, random):
        """Mostly upwards."""
        return 2 if random.random() < 0.7 else random.integers(6)

    def draws(self, drawn, before):
        speed, chance = drawn or (np.ones(8), np.ones(8))
        return {"drawn_speed": speed * np.where(chance < 0.5, -1, 1)}


class SpaceInvaders:
    name = "space_invaders"

    def start(self, game, random):
        """All aliens or some, high or low."""
        game.alien_map *= random.random((10, 10)) < random.choice([1.0, 0.5, 0.1])
        game.alien_map = np.roll(game.alien_map, random.integers(6), axis=0)
        game.alien_map[0, 4] = 1
        game.enemy_move_interval = int(random.integers(6, 13))

    def variables(self, game):
        rows = 2 ** np.arange(10)
        return {
            "cannon": game.pos, "aliens": rows @ game.alien_map, "right": game.alien_dir,
            "bullets": rows @ game.f_bullet_map, "bombs": rows @ game.e_bullet_map,
            "move_interval": game.enemy_move_interval, "move_timer": game.alien_move_timer,
            "shot_timer": game.shot_timer, "bomb_timer": game.alien_shot_timer,
        }  # fmt: skip

    def action(self, game, random):
        """Shots most of the time, out of the way of a bomb."""
        if game.e_bullet_map[5:, game.pos].any() and random.random() < 0.8:
            return random.choice([1, 3])
        return random.choice([5, 5, 5, 0, 1, 3, 2, 4])

    def draws(self, drawn, before):
        return {}


class Seaquest:
    name = "seaquest"

    def start(self, game, random):
        """At any point of the ramp and of the oxygen, with any crew, and things about to appear."""
        game.ramp_index = int(random.integers(12))
        game.e_spawn_speed, game.move_speed = (
            int(random.integers(1, 21)),
            int(random.integers(2, 6)),
        )
        game.oxygen, game.diver_count = int(random.integers(1, 201)), int(random.integers(-1, 7))
        game.sub_y, game.surface = int(random.integers(1, 9)), False
        game.e_spawn_timer, game.d_spawn_timer = 0, int(random.integers(10))
        if random.random() < 0.4:
            game.oxygen, game.sub_y = int(random.integers(3)), 2

    def variables(self, game):
        fields = ("kind", "x", "y", "right", "timer", "shot", "birth")
        enemies = [(1, *fish, 10, i) for i, fish in enumerate(game.e_fish, -100)]
        enemies += [(2, *sub, i) for i, sub in enumerate(game.e_subs, -100)]
        newest = [game.divers[::-1], game.f_bullets[::-1]]
        groups = {
            "enemies": (32, enemies),
            "divers": (2, [(1, *diver, 0, -i) for i, diver in enumerate(newest[0])]),
            "bullets": (2, [(1, *bullet, 0, 0, -i) for i, bullet in enumerate(newest[1])]),
        }
        columns = {}
        for group, (count, members) in groups.items():
            assert len(members) <= count
            table = np.zeros((count, len(fields)))
            table[: len(members)] = np.reshape(members, (-1, len(fields)))
            table[:, 3] = np.where(table[:, 3], 1, -1)
            columns |= {f"{group}.{f}": table[:, i] for i, f in enumerate(fields)}
        bombs = np.zeros((2, 10), int)
        for x, y, right in game.e_bullets:
            bombs[int(right), y] |= 1 << x
        return columns | {
            "x": game.sub_x, "y": game.sub_y, "right": 1 if game.sub_or else -1, "bombs": bombs,
            "oxygen": game.oxygen, "crew": game.diver_count, "surfaced": game.surface,
            "spawn_speed": game.e_spawn_speed, "spawn_timer": game.e_spawn_timer,
            "diver_timer": game.d_spawn_timer, "move_speed": game.move_speed,
            "ramp_index": game.ramp_index, "shot_timer": game.shot_timer,
        }  # fmt: skip

    def action(self, game, random):
        """Shots and moves; upwards before the oxygen ends."""
        if game.oxygen < 15 and random.random() < 0.6:
            return 2
        return random.choice([5, 5, 5, 1, 2, 3, 4, 4])

    def draws(self, drawn, before):
        enemy_due, diver_due = before["before_spawn_timer"] == 0, before["before_diver_timer"] == 0
        drawn = [float(value) for value in drawn]
        right, sub, row = drawn[:3] if enemy_due else (1, 1, 1)
        diver_right, diver_row = drawn[-2:] if diver_due else (1, 1)
        return {
            "spawn_right": right < 0.5, "spawn_sub": sub < 1 / 3, "spawn_row": row,
            "spawn_diver_right": diver_right < 0.5, "spawn_diver_row": diver_row,
        }  # fmt: skip


def play(player):
    """Rows of `STEPS` steps, episode after episode."""
    random = np.random.default_rng(SEED)
    world = Environment(player.name, sticky_action_prob=0.0)
    world.seed(SEED)
    game = world.env
    game.random = Recorder(game.random)
    rows, first = [], True
    while len(rows) < STEPS:
        if first:
            world.reset()
            player.start(game, random)
        before = {f"before_{k}": v for k, v in player.variables(game).items()}
        action = int(player.action(game, random))
        game.random.drawn.clear()
        reward, terminal = world.act(action)
        rows.append(
            before
            | player.draws(game.random.drawn, before)
            | {"action": action, "reward": reward, "terminated": terminal, "first": first}
            | {"planes": world.state()}
        )
        first = terminal
    return rows


def main():
    players = {p.name: p for p in (Breakout(), Asterix(), Freeway(), SpaceInvaders(), Seaquest())}
    for name in sys.argv[1:] or players:
        rows = play(players[name])
        table = {k: np.stack([np.asarray(row[k]) for row in rows]) for k in rows[0]}
        table = {k: v.astype(np.int16) for k, v in table.items()}
        table["planes"] = np.packbits(table["planes"].astype(bool).reshape(STEPS, -1), axis=1)
        np.savez_compressed(Path(__file__).parent / f"minatar_{name}.npz", **table)
        ends, reward = table["terminated"].sum(), table["reward"].sum()
        print(f"{name}: {STEPS} steps, {ends} ends, reward {reward}")


if __name__ == "__main__":
    main()
