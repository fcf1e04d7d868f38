"""No silent green: a platform that was asked for must reach an outcome. Values in, verdicts out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: Outcomes that prove something; a skip is none.
PROOFS = ("passed", "failed", "xfailed")


class Tally:
    """What became of each platform, by canonical name, counted as it happens.

    Attributes:
        collected: platforms of which an item was collected.
        deselected: platforms of which the user deselected an item.
        reached: platforms that reached an outcome.
        skipped: platform -> reasons of its skips.

    """

    def __init__(self) -> None:
        self.collected: set[str] = set()
        self.deselected: set[str] = set()
        self.reached: set[str] = set()
        self.skipped: dict[str, list[str]] = {}

    def add(self, platform: str, when: str, outcome: str, reason: str = "", xfail: bool = False) -> None:
        """Count one report of an item: set-up that failed is an outcome, one that passed is none yet."""
        if outcome == "skipped" and not xfail:
            self.skipped.setdefault(platform, []).append(reason)
        elif outcome == "failed" or when == "call":
            self.reached.add(platform)

    def as_lists(self) -> dict[str, list[str]]:
        """Return what a worker knows that the controller can't, JSON-ready."""
        return {"collected": sorted(self.collected), "deselected": sorted(self.deselected)}

    def merge(self, lists: dict[str, list[str]]) -> None:
        """Take in what `as_lists` of a worker said."""
        self.collected |= set(lists.get("collected", ()))
        self.deselected |= set(lists.get("deselected", ()))


def silent(asked: Sequence[str], tally: Tally, *, insisted: bool, chosen: bool) -> tuple[list[str], list[str]]:
    """Return the platforms that no test proved anything of: (those that fail the run, those that only warn).

    Args:
        asked: the platforms asked for.
        tally: what became of them.
        insisted: whether the command line asked; the ini file's platforms count once an item was collected.
        chosen: whether the user chose single tests (node ids, `--lf`), so that the others were never collected.

    """
    failing, warning = [], []
    for platform in asked:
        if platform in tally.reached:
            continue
        if platform in tally.deselected or (chosen and platform not in tally.collected):
            warning.append(platform)
        elif insisted or platform in tally.collected:
            failing.append(platform)
    return failing, warning


def explain(platform: str, tally: Tally) -> str:
    """Return why a platform fails the run."""
    skips = tally.skipped.get(platform, [])
    if skips:
        why = f"every test of it was skipped ({_counted(skips)})"
    elif platform in tally.collected:
        why = "its tests were collected and did not run"
    else:
        why = "no collected test runs on a platform, and no built-in check was collected"
    return f"{platform} was asked for and nothing was verified on it: {why}."


def _counted(reasons: Iterable[str]) -> str:
    reasons = list(reasons)
    different = list(dict.fromkeys(reason for reason in reasons if reason))
    shown = "; ".join(different[:3]) + ("; ..." if len(different) > 3 else "")
    return f"{len(reasons)}: {shown}" if shown else str(len(reasons))
