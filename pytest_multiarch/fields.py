"""`key=value,key=value` as buildx reads it: one line of CSV, so a value with a comma is quoted."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_multiarch.errors import SettingsError


def parse(text: str) -> list[tuple[str, str]]:
    """Return the pairs of a specification; a word without "=" is a key with the value "".

    Raises:
        SettingsError: it is no line of CSV.

    """
    import csv  # a suite that builds nothing owes it nothing

    try:
        words = next(csv.reader([text]), [])
    except csv.Error as error:
        raise SettingsError(f"{text!r} is not KEY=VALUE,...", why=str(error)) from None
    return [(key.strip(), value) for key, _, value in (word.partition("=") for word in words)]


def join(pairs: Iterable[tuple[str, str]]) -> str:
    """Return the specification of the pairs; `parse` is the way back."""
    return ",".join(_quoted(f"{key}={value}" if value else key) for key, value in pairs)


def _quoted(word: str) -> str:
    if not any(character in word for character in ',"\r\n'):
        return word
    return '"' + word.replace('"', '""') + '"'
