"""Which images proved nothing on which platforms, whose fault that is, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_multiarch.outcomes import Pair, Tally, explain, silent

ARM, Z = Pair("linux/arm64", "Dockerfile", "0"), Pair("linux/s390x", "Dockerfile", "0")
OTHER = Pair("linux/arm64", "Dockerfile.alpine", "1")


def tally(
    *reports: tuple[Pair, str, str], collected: Sequence[Pair] = (), deselected: Sequence[Pair] = ()
) -> Tally:
    made = Tally()
    made.merge({"collected": collected, "deselected": deselected})
    for pair, when, outcome in reports:
        made.add(pair, when, outcome)
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
    seen = tally((ARM, "call", "passed"), (ARM, "setup", "skipped"), collected=[ARM], deselected=[ARM])
    assert silent([ARM.platform], seen, insisted=True, chosen=False) == ([], [])


@pytest.mark.parametrize(
    ("collected", "deselected", "insisted", "chosen", "expected"),
    [
        ([], [], True, False, "fails"),  # nothing there that runs on a platform
        ([], [], False, False, "nothing"),  # the ini file's list, and a folder without such tests
        ([ARM], [], True, False, "fails"),  # skipped, or never run
        ([ARM], [], False, False, "fails"),
        ([ARM], [ARM], True, False, "warns"),  # -k, -m, --lf, --sw, --deselect
        ([ARM], [ARM], False, False, "warns"),
        ([], [], True, True, "warns"),  # node ids of another platform
        ([ARM], [], True, True, "fails"),  # a node id of this platform, skipped
        ([Z], [], True, False, "fails"),
    ],
)
def test_who_fails_the_run_and_who_is_only_told(
    collected: Sequence[Pair], deselected: Sequence[Pair], insisted: bool, chosen: bool, expected: str
) -> None:
    seen = tally(collected=collected, deselected=deselected)
    failing, warning = silent([ARM.platform], seen, insisted=insisted, chosen=chosen)
    found = "fails" if failing else "warns" if warning else "nothing"
    assert (found, {*failing, *warning} <= {ARM, Pair(ARM.platform)}) == (expected, True)


def test_the_order_is_that_of_the_question() -> None:
    asked = [Z.platform, ARM.platform]
    assert silent(asked, Tally(), insisted=True, chosen=False) == ([Pair(name) for name in asked], [])
    assert silent(asked, tally(collected=[OTHER, ARM, Z]), insisted=True, chosen=False) == ([Z, ARM, OTHER], [])


def test_one_image_proves_nothing_of_another() -> None:
    seen = tally((ARM, "call", "passed"), (OTHER, "setup", "skipped"), collected=[ARM])
    assert silent([ARM.platform], seen, insisted=True, chosen=False) == ([OTHER], [])
    assert explain(OTHER, seen).startswith("linux/arm64, Dockerfile.alpine was asked for")
    again = OTHER._replace(image=ARM.image)
    seen = tally((ARM, "call", "passed"), (again, "setup", "skipped"))
    assert [seen.label(ARM), seen.label(again)] == ["linux/arm64, Dockerfile, 0", "linux/arm64, Dockerfile, 1"]


def test_what_nobody_asked_for_is_never_silent() -> None:
    assert silent([], tally(collected=[ARM]), insisted=True, chosen=False) == ([], [])


def test_why_names_the_platform_and_the_reasons_of_its_skips_three_at_most() -> None:
    made = tally(collected=[ARM])
    for reason in ("no network", "no network", "slow", "", "old", "odd"):
        made.add(ARM, "setup", "skipped", reason)
    assert explain(ARM, made) == (
        "linux/arm64 was asked for and nothing was verified on it: "
        "every test of it was skipped (6: no network; slow; old; ...)."
    )


def test_why_tells_apart_what_was_never_collected_and_what_never_ran() -> None:
    assert "no collected test runs on a platform" in explain(Pair(ARM.platform), Tally())
    assert "were collected and did not run" in explain(ARM, tally(collected=[ARM]))


def test_workers_add_to_what_the_controller_knows() -> None:
    seen = tally((ARM, "call", "passed"))
    for worker in (tally(collected=[ARM]), tally(collected=[Z], deselected=[Z])):
        seen.merge(worker.as_lists())
    seen.merge({})  # a worker that crashed
    assert (seen.collected, seen.deselected, seen.reached) == ({ARM, Z}, {Z}, {ARM})
