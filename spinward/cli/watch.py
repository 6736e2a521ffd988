"""`spinward watch RUN`: a video of the policy; needs no display."""

from pathlib import Path

from spinward.cli.parser import Parser


def run(words: list[str]) -> int:
    parser = Parser("watch", "Make a video of a run's policy; no display is needed.")
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--out", default="", help="a .gif, .webp or .mp4; default in the run")
    parser.add_argument("--seed", type=int, default=0, help="which of the run's seeds acts")
    parser.add_argument("--frames", type=int, default=300, help="at the most")
    parser.add_argument("--trust", action="store_true", help="run code of the run's own")
    parser.add_checkpoint()
    ask = parser.read(words)
    from spinward.report import video
    from spinward.report.results import frames, write_report
    from spinward.run.run import load
    from spinward.store import files

    run = load(ask.run, ask.trust, ask.older)
    seeds = run.config["seeds"]
    if not 0 <= ask.seed < seeds:
        parser.error(f"--seed {ask.seed} must be between 0 and {seeds - 1}")
    which = "" if ask.checkpoint == "last" else f"-{ask.checkpoint}"
    own = files.inside(run.path, run.path / "videos" / f"seed-{ask.seed}{which}.gif")
    path = Path(ask.out) if ask.out else own
    path.parent.mkdir(parents=True, exist_ok=True)
    video.write(frames(run, ask.seed, ask.frames, ask.checkpoint), path)
    if not ask.out:
        write_report(run)
    print(f"video: {path}")
    return 0
