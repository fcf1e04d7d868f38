"""What an index and the configs behind it say, without a registry."""

from __future__ import annotations

from typing import Any

from pytest_multiarch.audit.config import Config
from pytest_multiarch.audit.index import entries, judge
from pytest_multiarch.platforms import Platform

ARM64 = Platform.parse("arm64")


def entry(digest: str, variant: str = "") -> dict[str, Any]:
    return {"digest": digest, "platform": {"os": "linux", "architecture": "arm64", "variant": variant}}


def test_one_image_listed_several_times_is_one() -> None:
    offered = entries({"manifests": [entry("sha256:a"), entry("sha256:a"), entry("sha256:a", "v8")]})
    assert [each.triple for each in offered] == ["linux/arm64", "linux/arm64/v8"]
    assert judge(offered, {"sha256:a": Config("linux", "arm64")}, ARM64).findings == ()


def test_two_images_for_one_platform_are_named() -> None:
    offered = entries({"manifests": [entry("sha256:a"), entry("sha256:b")]})
    configs = {each.digest: Config("linux", "arm64") for each in offered}
    (finding,) = judge(offered, configs, ARM64).findings
    assert finding.found == "2 entries for linux/arm64: sha256:a, sha256:b"


def test_a_config_that_says_nothing_is_told_so() -> None:
    (finding,) = judge(entries({"manifests": [entry("sha256:a")]}), {"sha256:a": Config("", "")}, ARM64).findings
    assert finding.found == "its config says nothing"
