"""What the config says of the platform, and what the index says of its entries."""

from __future__ import annotations

import pytest

from pytest_multiarch.audit import config, index
from pytest_multiarch.audit.config import PATH, Config
from pytest_multiarch.audit.findings import Severity
from pytest_multiarch.audit.index import Descriptor
from pytest_multiarch.platforms import KNOWN, VARIANTS, Platform

#: As `docker image inspect` (28.5, containerd store) and as an OCI layout say it.
INSPECTED = {
    "Id": "sha256:1",
    "Os": "linux",
    "Architecture": "arm",
    "Variant": "v7",
    "Config": {
        "Env": ["PATH=/bin:relative:/opt/x", "EMPTY="],
        "Entrypoint": ["/init"],
        "Cmd": ["a"],
        "WorkingDir": "/srv",
    },
}
OCI = {
    "os": "linux",
    "architecture": "arm",
    "variant": "v7",
    "config": {"Cmd": ["sh"]},
    "rootfs": {"type": "layers"},
}


def test_both_spellings_are_read():
    inspected, oci = Config.parse(INSPECTED), Config.parse(OCI)
    assert inspected.triple == oci.triple == "linux/arm/v7"
    assert inspected.argv == ("/init", "a")
    assert oci.argv == ("sh",)
    assert inspected.path == ["/bin", "/opt/x"]
    assert oci.path == PATH.split(":")
    assert (inspected.folder, oci.folder) == ("/srv", "/")


@pytest.mark.parametrize(
    "said", [{}, {"Config": None}, {"config": {"Env": None, "Entrypoint": None, "Cmd": None}}]
)
def test_a_config_that_says_nothing(said):
    assert Config.parse(said) == Config("", "")
    verdict = config.judge(Config.parse(said), KNOWN[0])
    assert {finding.where for finding in verdict.of(Severity.FAILURE)} >= {"os", "architecture"}


@pytest.mark.parametrize("platform", [*KNOWN, *VARIANTS], ids=str)
@pytest.mark.parametrize("other", [*KNOWN, *VARIANTS], ids=str)
def test_only_its_own_platform_agrees(platform, other):
    said = Config(other.os, other.architecture, other.variant)
    assert config.judge(said, platform).passed is (platform == other)


@pytest.mark.parametrize(
    ("said", "platform", "fields"),
    [
        (("linux", "amd64", ""), "linux/arm64", ["architecture"]),
        (("linux", "arm", "v6"), "linux/arm/v7", ["variant"]),
        (("linux", "arm", ""), "linux/arm/v7", []),
        (("linux", "arm", ""), "linux/arm/v6", ["variant"]),
        (("linux", "arm64", "v8"), "linux/arm64", []),
        (("windows", "amd64", ""), "linux/amd64", ["os"]),
        (("linux", "amd64", "v3"), "linux/amd64", ["variant"]),
        (("linux", "arm", "v7"), "linux/arm64", ["architecture", "variant"]),
        (("freebsd", "386", ""), "linux/amd64", ["os", "architecture"]),
    ],
)
def test_each_field_that_differs_is_named(said, platform, fields):
    assert [finding.where for finding in config.judge(Config(*said), Platform.parse(platform)).findings] == fields


def entry(digest, os="linux", architecture="amd64", variant=None, **more):
    platform = {"os": os, "architecture": architecture} | ({"variant": variant} if variant else {})
    return {"mediaType": "x", "digest": digest, "size": 1, "platform": platform, **more}


PUBLISHED = {
    "manifests": [
        entry("sha256:1"),
        entry("sha256:2", architecture="arm64", variant="v8"),
        entry("sha256:3", architecture="arm", variant="v7"),
        entry("sha256:4", os="unknown", architecture="unknown"),
        entry("sha256:5", annotations={"vnd.docker.reference.type": "attestation-manifest"}),
    ]
}
CONFIGS = {
    "sha256:1": Config("linux", "amd64"),
    "sha256:2": Config("linux", "arm64"),
    "sha256:3": Config("linux", "arm", "v7"),
}


def verdict(platform, published=PUBLISHED, configs=CONFIGS):
    return index.judge(index.entries(published), configs, Platform.parse(platform))


def test_attestations_are_no_images():
    assert index.entries(PUBLISHED) == (
        Descriptor("sha256:1", "linux", "amd64"),
        Descriptor("sha256:2", "linux", "arm64", "v8"),
        Descriptor("sha256:3", "linux", "arm", "v7"),
    )
    assert index.entries({}) == index.entries({"manifests": None}) == ()
    assert index.entries({"manifests": [{"digest": "sha256:1"}]}) == (Descriptor("sha256:1", "", ""),)


@pytest.mark.parametrize("platform", ["amd64", "arm64", "arm/v7"])
def test_a_sound_index(platform):
    assert verdict(platform).findings == ()


def test_a_platform_is_missing():
    found = verdict("s390x")
    assert found.findings[0].found == "no entry for linux/s390x"
    assert found.subject == "the index offers linux/amd64, linux/arm64/v8, linux/arm/v7"


def test_two_entries_claim_one_platform():
    doubled = {"manifests": [*PUBLISHED["manifests"], entry("sha256:6", architecture="arm64")]}
    found = verdict("arm64", doubled, CONFIGS | {"sha256:6": CONFIGS["sha256:2"]})
    assert [finding.found for finding in found.findings] == ["2 entries for linux/arm64: sha256:2, sha256:6"]
    assert verdict("amd64", doubled).passed


def test_two_entries_are_exchanged():
    swapped = CONFIGS | {"sha256:1": CONFIGS["sha256:2"], "sha256:2": CONFIGS["sha256:1"]}
    assert verdict("amd64", configs=swapped).findings[0].found == "its config says linux/arm64"
    assert verdict("arm64", configs=swapped).findings[0].found == "its config says linux/amd64"
    assert verdict("arm/v7", configs=swapped).passed


def test_a_config_that_was_not_read_is_not_verified():
    found = verdict("amd64", configs={})
    assert found.passed
    assert [finding.severity for finding in found.findings] == [Severity.UNVERIFIED]
