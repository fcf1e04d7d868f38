"""What a script does, as far as its text alone says it for certain."""

from __future__ import annotations

import re

#: A byte order mark (U+FEFF in UTF-8) before `#!`: the kernel knows no such file, and a shell no such command.
MARK = b"\xef\xbb\xbf#!"

#: Bytes of a script that are looked at.
SIZE = 16 * 1024

#: Lines that change neither the arguments nor PATH nor what is in the image.
_HARMLESS = re.compile(
    rb"\s*(#.*|set -[A-Za-z]+( pipefail)?|umask [0-7]+|ulimit [-\w ]+|(export )?(?!PATH=)\w+=[-\w./:]*)?\s*"
)


def forwards(data: bytes) -> bool:
    """Tell whether a shell's script does nothing but start its arguments: settings, and then `exec "$@"`."""
    if len(data) > SIZE or not re.match(rb"#!\s*(/usr)?/bin/(env )?(ba|da|a)?sh( -[a-z]+)?\n", data):
        return False
    *ahead, last = [line for line in data.splitlines()[1:] if line.strip()] or [b""]
    return re.fullmatch(rb"\s*exec (-- )?\"\$@\"\s*", last) is not None and all(map(_HARMLESS.fullmatch, ahead))
