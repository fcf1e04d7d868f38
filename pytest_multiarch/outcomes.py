"""No silent green: an image must reach an outcome on each platform that was asked for. Values in, verdicts out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

#: Outcomes that prove something; a skip is none.
PROOFS = ("passed", "failed", "xfailed")


class Pair(NamedTuple):
    """One image on one platform.

    Attributes:
        platform: its canonical name.
        image: what the report calls the image; "" where no item of the platform was collected.
        key: tells images of one name apart.

    """

    platform: str
    image: str = ""
    key: str = ""


class Tally:
    """What became of each image on each platform, counted as it happens.

    Attributes:
        collected: those of which an item was collected.
        deselected: those of which the user deselected an item.
        reached: those that reached an outcome.
        skipped: the reasons of its skips for each.

    """

    def __init__(self) -> None:
        self.collected: set[Pair] = set()
        self.deselected: set[Pair] = set()
        self.reached: set[Pair] = set()
        self.skipped: dict[Pair, list[str]] = {}

    def add(self, pair: Pair, when: str, outcome: str, reason: str = "", xfail: bool = False) -> None:
        """Count one report of an item: set-up that failed is an outcome, one that passed is none yet."""
        if outcome == "skipped" and not xfail:
            self.skipped.setdefault(pair, []).append(reason)
        elif outcome == "failed" or when == "call":
            self.reached.add(pair)

    @property
    def known(self) -> list[Pair]:
        """Return every pair that anything is known of, sorted."""
        return sorted({*self.collected, *self.deselected, *self.reached, *self.skipped})

    def label(self, pair: Pair) -> str:
        """Return what a pair is called: its platform, with the image where there are several."""
        keys = {each.key for each in self.known}
        if len(keys) < 2 or not pair.image:
            return pair.platform
        alike = {each.key for each in self.known if each.image == pair.image}
        return f"{pair.platform}, {pair.image}" + (f", {pair.key[:8]}" if len(alike) > 1 else "")

    def as_lists(self) -> dict[str, list[list[str]]]:
        """Return what a worker knows that the controller can't, JSON-ready."""
        return {"collected": [*map(list, self.collected)], "deselected": [*map(list, self.deselected)]}

    def merge(self, lists: Mapping[str, Sequence[Sequence[str]]]) -> None:
        """Take in what `as_lists` of a worker said."""
        self.collected |= {Pair(*each) for each in lists.get("collected", ())}
        self.deselected |= {Pair(*each) for each in lists.get("deselected", ())}


def silent(asked: Sequence[str], tally: Tally, *, insisted: bool, chosen: bool) -> tuple[list[Pair], list[Pair]]:
    """Return the images and platforms that nothing was proved of: (those that fail the run, those that only warn).

    Args:
        asked: the platforms asked for.
        tally: what became of them.
        insisted: whether the command line asked; the ini file's platforms count once an item was collected.
        chosen: whether the user chose single tests (node ids, `--lf`), so that the others were never collected.

    """
    failing, warning = [], []
    for platform in asked:
        for pair in [each for each in tally.known if each.platform == platform] or [Pair(platform)]:
            if pair in tally.reached:
                continue
            if pair in tally.deselected or (chosen and pair not in tally.collected):
                warning.append(pair)
            elif insisted or pair in tally.collected:
                failing.append(pair)
    return failing, warning


def explain(pair: Pair, tally: Tally) -> str:
    """Return why an image on a platform fails the run."""
    skips = tally.skipped.get(pair, [])
    if skips:
        why = f"every test of it was skipped ({_counted(skips)})"
    elif pair in tally.collected:
        why = "its tests were collected and did not run"
    else:
        why = "no collected test runs on a platform, and no built-in check was collected"
    return f"{tally.label(pair)} was asked for and nothing was verified on it: {why}."


def _counted(reasons: Iterable[str]) -> str:
    reasons = list(reasons)
    different = list(dict.fromkeys(reason for reason in reasons if reason))
    shown = "; ".join(different[:3]) + ("; ..." if len(different) > 3 else "")
    return f"{len(reasons)}: {shown}" if shown else str(len(reasons))
