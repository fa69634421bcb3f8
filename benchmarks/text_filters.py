"""What the embedded text filters catch, what they drop by mistake, and how fast they are.

Run as ``python -m benchmarks.text_filters [--half dev|test] [--rows N]``. The language of a line is
left for the filters to identify. False positives are counted over the benign lines of all files.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain, islice, product

from benchmarks.labelled_text import FILES, IdentityCaption, Line, identity_captions, lines
from filters.contract import Filter, Item, Verdict
from filters.personal import personal_information_filter
from filters.toxicity import toxicity_filter
from filters.unsafe_text import unsafe_text_filter

BATCH = 256


def verdicts(screen: Filter, texts: Iterable[str]) -> list[Verdict]:
    items = [Item(str(index), text) for index, text in enumerate(texts)]
    return [decision.verdict for decision in screen.screen(items)]


def catches(screen: Filter, positive: Sequence[Line], benign: Sequence[Line]) -> None:
    """A row a language: share of the positive lines dropped, and of the benign ones not kept."""
    print(f"\n{screen.name}: {screen.scorer.name} {screen.scorer.version}")
    print(
        f"{'language':10}{'positive':>9}{'recall':>9}{'benign':>8}{'dropped':>9}{'no verdict':>12}"
    )
    dropped = dict(zip(positive, verdicts(screen, (line.text for line in positive)), strict=True))
    kept = dict(zip(benign, verdicts(screen, (line.text for line in benign)), strict=True))
    languages = sorted({line.language for line in chain(positive, benign)})
    for language in ["en", *(other for other in languages if other != "en"), None]:
        of = [v for line, v in dropped.items() if language in (None, line.language)]
        against = [v for line, v in kept.items() if language in (None, line.language)]
        print(
            f"{language or 'all':10}{len(of):9}{_share(of, Verdict.DROP):>9}{len(against):8}"
            f"{_share(against, Verdict.DROP):>9}{_share(against, Verdict.NO_VERDICT):>12}"
        )
    _print_kinds("missed", (line for line, v in dropped.items() if v != Verdict.DROP))
    _print_kinds("dropped by mistake", (line for line, v in kept.items() if v == Verdict.DROP))


def _share(found: Sequence[Verdict], verdict: Verdict) -> str:
    return f"{found.count(verdict) / len(found):.1%}" if found else "-"


def _print_kinds(title: str, some: Iterable[Line]) -> None:
    counts = Counter(f"{line.language} {line.kind}" for line in some)
    listed = ", ".join(f"{kind} {n}" for kind, n in counts.most_common())
    print(f"{title}: {listed or 'none'}")


def identity(screens: Sequence[Filter], captions: Sequence[IdentityCaption]) -> None:
    """Drop rate of the benign templates by the term that fills them, in points above neutral."""
    print("\nDrop rate of benign captions by the group they name, less that of a neutral adjective")
    print(f"{'language':10}{'term':18}" + "".join(f"{screen.name:>22}" for screen in screens))
    rates = {}
    for screen in screens:
        by_term: dict[tuple[str, str], list[bool]] = defaultdict(list)
        for caption, verdict in zip(
            captions, verdicts(screen, (caption.text for caption in captions)), strict=True
        ):
            key = "" if caption.neutral else caption.term
            by_term[caption.language, key].append(verdict is Verdict.DROP)
        rates[screen.name] = {key: 100 * sum(drops) / len(drops) for key, drops in by_term.items()}
    for language, term in sorted({(c.language, c.term) for c in captions if not c.neutral}):
        above = [
            rates[screen.name][language, term] - rates[screen.name][language, ""]
            for screen in screens
        ]
        print(f"{language:10}{term:18}" + "".join(f"{points:+18.1f} pts" for points in above))


def speed(title: str, screens: Sequence[Filter], texts: Sequence[str]) -> None:
    """Rows a second through `screens` in order, in batches, the best of three after a warm-up.

    Also per second of processor time, which other work on the machine disturbs less.
    """
    items = [Item(str(index), text) for index, text in enumerate(texts)]
    wall, processor = [], []
    for _ in range(4):
        begin, began = time.perf_counter(), time.process_time()
        for start in range(0, len(items), BATCH):
            for screen in screens:
                screen.screen(items[start : start + BATCH])
        wall.append(time.perf_counter() - begin)
        processor.append(time.process_time() - began)
    rates = (len(items) / min(seconds[1:]) for seconds in (wall, processor))
    print("{:40}{:10,.0f} rows/s{:10,.0f} rows per processor second".format(title, *rates))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--half", choices=("dev", "test"), default="test")
    parser.add_argument("--rows", type=int, default=10_000, help="captions for the timing")
    options = parser.parse_args()
    unsafe, toxic, personal = unsafe_text_filter(), toxicity_filter(), personal_information_filter()
    labelled = {name: lines(name, options.half) for name in FILES}
    benign = list(dict.fromkeys(one for name in FILES for one in labelled[name] if not one.label))
    print(f"half: {options.half}")
    for screen, name in ((unsafe, "unsafe_text"), (toxic, "toxicity"), (personal, "personal")):
        catches(screen, [line for line in labelled[name] if line.label], benign)
    identity((unsafe, toxic), list(identity_captions()))
    # Two lines each, so that captions are as long as people write them, and no two alike.
    pairs = product((line.text for line in benign), repeat=2)
    texts = [f"{one}. {other}" for one, other in islice(pairs, 0, None, 7)][: options.rows]
    print(f"\n{len(texts):,} captions, {sum(map(len, texts)) / len(texts):.0f} characters each")
    speed("unsafe text", (unsafe,), texts)
    speed("personal information", (personal,), texts)
    speed("unsafe text and personal information", (unsafe, personal), texts)
    speed("toxicity", (toxic,), texts)
    speed("all", (unsafe, personal, toxic), texts)


if __name__ == "__main__":
    main()
