"""Who an image's user is, and what it may do with a file: the kernel's rule, by mode and owner alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_multiarch.audit.tree import Access, Entry, Tree, What

#: What one may do with a file or a folder (inode(7)).
READ, EXECUTE = 4, 1


@dataclass(frozen=True, slots=True)
class User:
    """A user as the kernel knows it: `uid`, and the `gids` of all its groups."""

    uid: int
    gids: frozenset[int]

    def may(self, what: int, access: Access | None) -> bool:
        """Tell whether it may `READ` or `EXECUTE`: the owner by the owner's bits alone, a group's member likewise.

        Root may all. Some runtimes start what the user itself may not execute, as long as the engine grants
        CAP_DAC_OVERRIDE (runc before 1.2): with others, and with `--cap-drop`, that fails.
        """
        if access is None or self.uid == 0:
            return True
        shift = 6 if self.uid == access.uid else 3 if access.gid in self.gids else 0
        return bool(access.mode >> shift & what)


def resolve(said: str, tree: Tree) -> User:
    """Return who USER (`name`, `uid`, `name:group`, ...) is in an image, as the runtime finds it.

    Raises:
        LookupError: the container can't start: there is no such user or group; says which is missing where.
        ValueError: it can't be told from the files that are seen.

    """
    name, _, group = said.partition(":")
    found = next((row for row in _rows(tree, "/etc/passwd", 4) if name in (row[0], row[2])), None)
    if found is None and name and not name.isdigit():
        raise LookupError(f"{name} is not in /etc/passwd")
    uid = int(found[2]) if found else int(name or 0)
    if group:
        return User(uid, frozenset({_gid(group, tree)}))
    gid = int(found[3]) if found else 0
    own = found[0] if found else name
    more = {int(row[2]) for row in _rows(tree, "/etc/group", 4) if own in row[3].split(",")}
    return User(uid, frozenset({gid, *more}))


def _gid(group: str, tree: Tree) -> int:
    found = next((row for row in _rows(tree, "/etc/group", 3) if group in (row[0], row[2])), None)
    if found is None and not group.isdigit():
        raise LookupError(f"the group {group} is not in /etc/group")
    return int(found[2]) if found else int(group)


def _rows(tree: Tree, path: str, fields: int) -> Iterator[list[str]]:
    """Yield the fields of each sound row of /etc/passwd or /etc/group."""
    real, entry = tree.find(path)
    if entry is not None and entry.text is None:
        raise ValueError(f"{path} leads to {real}")
    for line in (entry.text or "").splitlines() if entry else ():
        row = line.strip().split(":")
        if len(row) >= fields and row[2].isdigit() and (fields < 4 or path == "/etc/group" or row[3].isdigit()):
            yield row


def barrier(tree: Tree, user: User, real: str, what: int) -> str:
    """Return what on the way to a file keeps `user` from it, in words; "" for nothing."""
    parts = real.split("/")
    ways = ["/".join(parts[:end]) for end in range(2, len(parts))]
    for folder in ways:
        entry = tree.at(folder)
        if entry is not None and entry.what is What.FOLDER and not user.may(EXECUTE, entry.access):
            return f"may not enter {folder} ({_shown(entry)})"
    entry = tree.at(real)
    if entry is not None and not user.may(what, entry.access):
        return f"may not {'execute' if what == EXECUTE else 'read'} it ({_shown(entry)})"
    return ""


def _shown(entry: Entry) -> str:
    access = entry.access or Access(0o755, 0, 0)
    return f"mode {access.mode:o}, owner {access.uid}:{access.gid}"
