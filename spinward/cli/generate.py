"""`spinward generate MODEL`: completions of a language model, or the best of several."""

import argparse
import json
from pathlib import Path
from typing import Any

from spinward.cli.parser import OLDER, Parser, print_json, say


def run(words: list[str]) -> int:
    parser = make_parser()
    ask = parser.read(words)
    if ask.best_of and ask.count > 1:
        parser.error("--best-of keeps one completion of each prompt; leave out --count")
    if (ask.chat or ask.system) and not ask.prompt:
        parser.error("--chat needs what the user says: give it with --prompt")
    from spinward.store.files import check_new_file

    if ask.out:  # before anything is written, which may take long
        check_new_file(Path(ask.out))
    from spinward.evaluation.best_of_n import divergence
    from spinward.networks.sampling import Sampling
    from spinward.run.generate import generate

    sampling = Sampling(ask.temperature, ask.top_k, ask.top_p)
    count = ask.best_of or ask.count
    more = ask.reward_model, ask.data, ask.seed, ask.older
    answers = generate(ask.model, prompts(ask), ask.tokens, count, sampling, *more)
    if ask.best_of:
        if any(a.completions[0].score is None for a in answers):
            parser.error("--best-of needs a score: name the run of a reward model, --reward-model")
        answers = [a._replace(completions=a.completions[:1]) for a in answers]
        say(f"best of {count}: at most {divergence(count):.3f} nats from the model itself")
    if ask.out:
        write(answers, ask)
        return 0
    if ask.json:
        texts = [(a.prompt, [c._asdict() for c in a.completions]) for a in answers]
        print_json(
            [{"prompt": prompt, "completions": completions} for prompt, completions in texts]
        )
        return 0
    for answer in answers:
        for completion in answer.completions:
            show(answer.prompt, completion)
    return 0


def write(answers: list[Any], ask: argparse.Namespace) -> None:
    """Writes the file of the prompts with their completions."""
    from spinward.store.files import write_atomically

    rows = [{"prompt": a.prompt, "completions": [c.text for c in a.completions]} for a in answers]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    write_atomically(Path(ask.out), ("\n".join(lines) + "\n").encode())
    if ask.json:
        print_json({"path": ask.out, "prompts": len(rows)})
    else:
        print(f"{len(rows):,} prompts: {ask.out}")


def make_parser() -> Parser:
    parser = Parser("generate", "Let a language model write.")
    parser.add_argument("model", help="folder of a checkpoint, GGUF file, smollm2, or a run")
    parser.add_argument("--prompt", action="append", default=[], help="a text; may be repeated")
    parser.add_argument("--data", default="", help="file of rows with a prompt each")
    parser.add_argument("--chat", action="store_true", help="a prompt is what a user says")
    parser.add_argument("--system", default="", help="what the system says first in a chat")
    parser.add_argument(
        "--tokens", type=int, default=0, help="of a completion; 0: 64, or what fits"
    )
    parser.add_argument("--count", type=int, default=1, help="completions of each prompt")
    parser.add_argument("--best-of", type=int, default=0, help="write so many and keep the best")
    parser.add_argument("--reward-model", default="", help="run of one, to score completions by")
    parser.add_argument("--temperature", type=float, default=1.0, help="0 for the likeliest")
    parser.add_argument("--top-k", type=int, default=0, help="tokens to draw from; 0 for all")
    parser.add_argument("--top-p", type=float, default=1.0, help="mass of the tokens to draw from")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--older", action="store_true", help=OLDER)
    parser.add_argument(
        "--out", default="", help="write JSON lines of prompts and completions to this new file"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def prompts(ask: argparse.Namespace) -> list[Any]:
    """Texts, or conversations that start with a user's message."""
    if not (ask.chat or ask.system):
        return ask.prompt
    system = [{"role": "system", "content": ask.system}] if ask.system else []
    return [[*system, {"role": "user", "content": prompt}] for prompt in ask.prompt]


def show(prompt: str, completion: Any) -> None:
    """Prints a completion, and on standard error its length, log-probability and score."""
    score = "" if completion.score is None else f", score {completion.score:.3f}"
    cut = "" if completion.finished else ", cut off"
    facts = f"{completion.tokens} tokens, log-probability {completion.log_prob:.1f}{score}{cut}"
    say(f"> {prompt[-80:]}  ({facts})")
    print(completion.text.strip())
