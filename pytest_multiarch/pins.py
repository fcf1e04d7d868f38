"""The images that the tool itself needs, by digest, for their containers are privileged; set-up reads this, too.

SECURITY.md says how the digests are known.
"""

from __future__ import annotations

#: Builds. The tests run on the same version of it, compiled from its sources where no registry is reached.
BUILDKIT_IMAGE = "moby/buildkit:v0.34.0@sha256:b059f8d7226d0b326bc871af489a5dddf65e36af4d20d14251b072974d9ee87c"

#: Registers emulators; its QEMU is of the series that the tests run.
BINFMT_IMAGE = (
    "tonistiigi/binfmt:qemu-v10.0.4@sha256:8f58e6214f4cc9dc83ce8f5acad1ece508eb6b20e696a8c1e9f274481982c541"
)

#: The oldest BuildKit that is promised: of January 2024, the first without the escapes of CVE-2024-23651 to -23653
#: (https://github.com/moby/buildkit/security/advisories).
#: Only the tests start it, so no digest is pinned.
OLDEST_BUILDKIT_IMAGE = "moby/buildkit:v0.12.5"
