"""Patterns of paths, as `multiarch_foreign_files` and the shipped list write them."""

from __future__ import annotations

import re
from functools import lru_cache

_WORDS = re.compile(r"\*\*/|\*\*|\*|\?|\[!?[^]/]+\]|\{[^{}]*\}|.", re.S)


@lru_cache(maxsize=512)
def compiled(pattern: str) -> re.Pattern[str]:
    """Return what matches the absolute paths that `pattern` names, and everything below them.

    `*` and `?` stay inside a name, `**` crosses folders, `[ab]` and `{one,two}` choose. A pattern begins at the
    root, with or without its slash.
    """
    words = _WORDS.findall("/" + pattern.strip("/"))
    return re.compile("".join(map(_translated, words)) + r"(?:/.*)?", re.S)


def matches(pattern: str, path: str) -> bool:
    """Tell whether `path`, absolute, is named by `pattern` or below what it names."""
    return compiled(pattern).fullmatch(path) is not None


def _translated(word: str) -> str:
    if word == "**/":
        return "(?:.*/)?"
    if word in ("**", "*", "?"):
        return {"**": ".*", "*": "[^/]*", "?": "[^/]"}[word]
    if len(word) > 1 and word[0] == "[":
        inner = word[1:-1].removeprefix("!").replace("\\", "\\\\").replace("^", "\\^").replace("[", "\\[")
        return f"[{'^' if word[1] == '!' else ''}{inner}]"
    if len(word) > 1 and word[0] == "{":
        return (
            "(?:"
            + "|".join("".join(map(_translated, _WORDS.findall(part))) for part in word[1:-1].split(","))
            + ")"
        )
    return re.escape(word)
