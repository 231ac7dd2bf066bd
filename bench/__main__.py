"""The command ``python -m bench [NAME...]``: runs the figures and prints them as they come; measures nothing itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

from bench import exports, frames, mongodb, outbox, pruning, replay, room, simulator, sqlite
from bench.machine import describe
from bench.race import Figure, Rate, Size, Skipped

ROUNDS = 11
_QUICK_ROUNDS = 2

_Outcome = Iterable[Figure | Size | Rate]
BENCHES: dict[str, Callable[[int, bool], _Outcome]] = {
    "trades": lambda rounds, quick: [frames.figure("trades", rounds=rounds, quick=quick)],
    "tickers": lambda rounds, quick: [frames.figure("tickers", rounds=rounds, quick=quick)],
    "books": lambda rounds, quick: [frames.figure("books", rounds=rounds, quick=quick)],
    "sqlite": lambda rounds, quick: sqlite.figures(rounds=rounds, quick=quick),
    "pruning": lambda rounds, quick: [pruning.figure(rounds=rounds, quick=quick)],
    "mongodb": lambda rounds, quick: mongodb.figures(rounds=rounds, quick=quick),
    "room": lambda _rounds, quick: [*room.sizes(quick=quick)],
    "outbox": lambda rounds, quick: outbox.figures(rounds=rounds, quick=quick),
    "replay": lambda rounds, quick: replay.figures(rounds=rounds, quick=quick),
    "simulator": lambda rounds, quick: simulator.figures(rounds=rounds, quick=quick),
    "export-sqlite": lambda rounds, quick: exports.sqlite_figures(rounds=min(rounds, 3), quick=quick),
    "export-mongodb": lambda rounds, quick: exports.mongo_figures(rounds=min(rounds, 3), quick=quick),
    "tail": lambda rounds, quick: exports.tail_figures(rounds=rounds, quick=quick),
}


def main() -> None:
    """Parse the arguments; run and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Figures of speed and size, as ratios.")
    parser.add_argument("name", nargs="*", help=f"any of {', '.join(BENCHES)}; all of them if none is named")
    parser.add_argument("--rounds", type=int, help=f"rounds of each figure, {ROUNDS} by default")
    parser.add_argument("--quick", action="store_true", help="tiny: shows that it runs, and nothing else")
    given = parser.parse_args()
    for name in given.name:
        if name not in BENCHES:
            parser.error(f"unknown name {name!r} (choose from {', '.join(BENCHES)})")
    rounds = given.rounds or (_QUICK_ROUNDS if given.quick else ROUNDS)
    for line in describe():
        print(line)
    print(f"{rounds} rounds, each side in turns; ratio: the median of the rounds' ratios, in brackets the extremes\n")
    print(f"{'':28}{'ours':>19}{'peer or bare':>19}{'ratio':>8}{'':16}goal")
    for name in given.name or BENCHES:
        try:
            for outcome in BENCHES[name](rounds, given.quick):
                print(_line(outcome), flush=True)
        except Skipped as exc:
            print(f"{name:28}skipped: {exc}", flush=True)


def _line(outcome: Figure | Size | Rate) -> str:
    if isinstance(outcome, Size):
        taken = f"{outcome.taken:,.1f} {outcome.unit}"
        limit = "" if outcome.limit is None else f"{'':42}<= {outcome.limit:g} {outcome.unit}"
        return f"{outcome.name:28}{taken:>19}{limit}"
    if isinstance(outcome, Rate):
        rate = f"{outcome.rate:,.0f} {outcome.unit}/s"
        return f"{outcome.name:28}{rate:>19}{'':42}>= {outcome.goal:,.0f}"
    ours, theirs = (f"{rate:,.0f} {outcome.unit}/s" for rate in (outcome.ours, outcome.theirs))
    extremes = f"({outcome.lowest:.2f}..{outcome.highest:.2f})"
    goal = "" if outcome.goal is None else f">= {outcome.goal:g}x"
    return f"{outcome.name:28}{ours:>19}{theirs:>19}{outcome.ratio:7.2f}x  {extremes:14}{goal}".rstrip()


if __name__ == "__main__":
    main()
