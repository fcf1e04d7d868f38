"""Every image of the table: the check that should say no does, in the right words, and no other one does."""

from __future__ import annotations

import pytest
import runs
from cases import CASES


@pytest.mark.parametrize("way", runs.WAYS)
@pytest.mark.parametrize("name", CASES)
def test_the_gate_tells_the_truth(name: str, way: str, zoo: dict[str, runs.Run]) -> None:
    assert "INTERNALERROR" not in zoo[way].terminal
    assert runs.faults(name, CASES[name], zoo[way]) == []
