"""Which platforms proved nothing, whose fault that is, and what is said of it."""

from __future__ import annotations

import pytest

from pytest_multiarch.outcomes import Tally, explain, silent

ARM, Z = "linux/arm64", "linux/s390x"


def tally(*reports: tuple[str, str, str], collected: str = "", deselected: str = "", reason: str = "") -> Tally:
    made = Tally()
    made.merge({"collected": collected.split(), "deselected": deselected.split()})
    for platform, when, outcome in reports:
        made.add(platform, when, outcome, reason)
    return made


@pytest.mark.parametrize(
    ("when", "outcome", "xfail", "proves"),
    [
        ("setup", "passed", False, False),
        ("setup", "failed", False, True),
        ("setup", "skipped", False, False),
        ("setup", "skipped", True, False),  # xfail(run=False): nothing ran
        ("call", "passed", False, True),
        ("call", "failed", False, True),
        ("call", "skipped", False, False),
        ("call", "skipped", True, True),  # xfailed
        ("teardown", "passed", False, False),
        ("teardown", "failed", False, True),
    ],
)
def test_what_counts_as_an_outcome(when: str, outcome: str, xfail: bool, proves: bool) -> None:
    made = Tally()
    made.add(ARM, when, outcome, xfail=xfail)
    assert (ARM in made.reached) == proves


def test_a_platform_that_reached_an_outcome_is_not_silent_whatever_else_happened() -> None:
    seen = tally((ARM, "call", "passed"), (ARM, "setup", "skipped"), collected=ARM, deselected=ARM)
    assert silent([ARM], seen, insisted=True, chosen=False) == ([], [])


@pytest.mark.parametrize(
    ("collected", "deselected", "insisted", "chosen", "expected"),
    [
        ("", "", True, False, "fails"),  # nothing there that runs on a platform
        ("", "", False, False, "nothing"),  # the ini file's list, and a folder without such tests
        (ARM, "", True, False, "fails"),  # skipped, or never run
        (ARM, "", False, False, "fails"),
        (ARM, ARM, True, False, "warns"),  # -k, -m, --lf, --sw, --deselect
        (ARM, ARM, False, False, "warns"),
        ("", "", True, True, "warns"),  # node ids of another platform
        (ARM, "", True, True, "fails"),  # a node id of this platform, skipped
        (Z, "", True, False, "fails"),
    ],
)
def test_who_fails_the_run_and_who_is_only_told(
    collected: str, deselected: str, insisted: bool, chosen: bool, expected: str
) -> None:
    seen = tally(collected=collected, deselected=deselected)
    failing, warning = silent([ARM], seen, insisted=insisted, chosen=chosen)
    found = "fails" if failing else "warns" if warning else "nothing"
    assert (found, {*failing, *warning} <= {ARM}) == (expected, True)


def test_the_order_is_that_of_the_question() -> None:
    assert silent([Z, ARM], Tally(), insisted=True, chosen=False) == ([Z, ARM], [])


def test_what_nobody_asked_for_is_never_silent() -> None:
    assert silent([], tally(collected=ARM), insisted=True, chosen=False) == ([], [])


def test_why_names_the_platform_and_the_reasons_of_its_skips_three_at_most() -> None:
    made = tally(collected=ARM)
    for reason in ("no network", "no network", "slow", "", "old", "odd"):
        made.add(ARM, "setup", "skipped", reason)
    assert explain(ARM, made) == (
        "linux/arm64 was asked for and nothing was verified on it: "
        "every test of it was skipped (6: no network; slow; old; ...)."
    )


def test_why_tells_apart_what_was_never_collected_and_what_never_ran() -> None:
    assert "no collected test runs on a platform" in explain(ARM, Tally())
    assert "were collected and did not run" in explain(ARM, tally(collected=ARM))


def test_workers_add_to_what_the_controller_knows() -> None:
    seen = tally((ARM, "call", "passed"))
    for worker in (tally(collected=ARM), tally(collected=Z, deselected=Z)):
        seen.merge(worker.as_lists())
    seen.merge({})  # a worker that crashed
    assert (seen.collected, seen.deselected, seen.reached) == ({ARM, Z}, {Z}, {ARM})
