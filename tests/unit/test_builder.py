"""What buildx says of builders: captured words in, values out."""

from __future__ import annotations

import pytest

from pytest_multiarch.builders.builder import listed

OLD = """\
NAME/NODE DRIVER/ENDPOINT             STATUS  BUILDKIT       PLATFORMS
mine      remote
  mine0   docker-container://mine     running v0.34.0        linux/amd64, linux/arm64
default * docker
  default default                     running v0.0.0+unknown linux/amd64, linux/amd64/v2
"""

NEW = """\
NAME/NODE     DRIVER/ENDPOINT                 STATUS    BUILDKIT         PLATFORMS
mine          remote
 \\_ mine0     \\_ docker-container://mine    running   v0.34.0          linux/amd64 (+3), linux/arm64
default*      docker
 \\_ default    \\_ default                  running   v0.0.0+unknown   linux/amd64 (+3), linux/arm64
"""


@pytest.mark.parametrize("said", [OLD, NEW], ids=["0.10.2", "0.29.1"])
def test_the_builders_that_exist_are_named(said: str) -> None:
    assert listed(said) == ["default", "mine"]


def test_where_nothing_is_said_there_is_none() -> None:
    assert listed("") == []
