"""OCI layouts with a part of another's platforms."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_multiarch.platforms import Platform


def index_of(address: str, platforms: Sequence[str], folder: Path) -> str:
    """Make a layout whose index has only these of another's platforms; return its address as a build context."""
    layout, _, digest = address.removeprefix("oci-layout://").partition("@")
    blobs = folder / "blobs/sha256"
    shutil.copytree(Path(layout, "blobs"), folder / "blobs", copy_function=_linked)
    index = json.loads((blobs / digest.removeprefix("sha256:")).read_bytes())
    index["manifests"] = [entry for entry in index["manifests"] if _name(entry["platform"]) in platforms]
    assert len(index["manifests"]) == len(platforms)
    data = json.dumps(index).encode()
    name = hashlib.sha256(data).hexdigest()
    (blobs / name).write_bytes(data)
    entry = {"mediaType": index["mediaType"], "digest": f"sha256:{name}", "size": len(data)}
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return f"oci-layout://{folder}@sha256:{name}"


def _name(words: dict[str, Any]) -> str:
    parts = (words["os"], words["architecture"], words.get("variant", ""))
    return str(Platform.parse("/".join(part for part in parts if part)))


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy(source, target)
