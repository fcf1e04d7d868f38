"""The reader of tar archives: every format, every damage, in bounded memory."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import shutil
import subprocess
import tarfile
import tracemalloc

import pytest
from audit_samples import File, link, tar
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_multiarch.audit.tar import Archive, Kind, Member, TarError

GNU = b"GNU" in subprocess.run(["tar", "--version"], capture_output=True).stdout

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def read(data: bytes) -> list[tuple[Member, bytes]]:
    archive, found = Archive(io.BytesIO(data)), []
    for member in archive:
        content = bytearray(member.size)
        for offset, piece in archive.pieces():
            content[offset : offset + len(piece)] = piece
        found.append((member, bytes(content)))
    return found


@pytest.mark.parametrize("format_", FORMATS.values(), ids=FORMATS)
def test_reads_what_python_writes(format_):
    members = {
        "bin/sh": File(b"x" * 1000, 0o755),
        "empty": File(b"", 0o644),
        "bin/ash": File(hard="bin/sh"),
        "lib": link("usr/lib"),
        "dev/null": File(type=tarfile.CHRTYPE, mode=0o666),
        "fifo": File(type=tarfile.FIFOTYPE),
        "folder": File(type=tarfile.DIRTYPE),
    }
    found = {member.path.rstrip(b"/"): (member, content) for member, content in read(tar(members, format_))}
    assert {path.decode(): member.kind for path, (member, _) in found.items()} == {
        "bin/sh": Kind.FILE,
        "empty": Kind.FILE,
        "bin/ash": Kind.HARD_LINK,
        "lib": Kind.LINK,
        "dev/null": Kind.DEVICE,
        "fifo": Kind.DEVICE,
        "folder": Kind.FOLDER,
    }
    assert found[b"bin/sh"][1] == b"x" * 1000
    assert (found[b"bin/ash"][0].link, found[b"lib"][0].link) == (b"bin/sh", b"usr/lib")
    assert found[b"bin/sh"][0].mode == 0o755


@pytest.mark.parametrize("format_", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
def test_long_names_and_links(format_):
    name, target = "d/" * 150 + "file", "../" * 100 + "x"
    (member, _), (other, content) = read(tar({name: link(target), "next": b"still there"}, format_))
    assert (member.path.decode(), member.link.decode()) == (name, target)
    assert (other.path, content) == (b"next", b"still there")


def test_a_ustar_name_is_split_in_two():
    name = "a" * 90 + "/" + "b" * 90
    assert read(tar({name: b"1"}, tarfile.USTAR_FORMAT))[0][0].path.decode() == name


@pytest.mark.parametrize("format_", FORMATS.values(), ids=FORMATS)
def test_a_name_in_no_encoding(format_):
    assert read(tar({"\udcff\udcfe-x": b"1"}, format_))[0][0].path == b"\xff\xfe-x"


def test_a_hard_link_that_repeats_its_target_s_size():
    data = bytearray(tar({"a": b"1234", "b": File(hard="a"), "c": b"5"}, tarfile.USTAR_FORMAT))
    data[1024 + 124 : 1024 + 136] = b"00000000004\0"
    header = data[1024:1536]
    header[148:156] = b" " * 8
    data[1024 + 148 : 1024 + 156] = b"%06o\0 " % sum(header)
    assert [(member.path, content) for member, content in read(bytes(data))] == [
        (b"a", b"1234"),
        (b"b", b""),
        (b"c", b"5"),
    ]


def test_a_size_in_binary():
    member = tarfile.TarInfo("big")
    member.size = 5 << 33
    header = member.tobuf(tarfile.GNU_FORMAT)
    archive = Archive(io.BytesIO(header))
    assert next(iter(archive)).size == 5 << 33


def test_a_folder_from_before_posix():
    member = tarfile.TarInfo("old/")
    member.type = tarfile.AREGTYPE
    assert read(member.tobuf(tarfile.USTAR_FORMAT) + bytes(1024))[0][0].kind is Kind.FOLDER


@pytest.mark.skipif(not GNU, reason="needs GNU tar")
@pytest.mark.parametrize(
    "how",
    [["--format=gnu"], *(["--format=posix", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0"))],
    ids=["old", "0.0", "0.1", "1.0"],
)
def test_sparse_files_which_no_engine_writes_are_refused(tmp_path, how):
    with (tmp_path / "sparse").open("wb") as file:
        for index in range(40):
            file.seek(index * 65536)
            file.write(b"%08d" % index)
        file.truncate(40 * 65536)
    if os.stat(tmp_path / "sparse").st_blocks > 60 * 16:
        pytest.skip("the file system here makes no holes")
    program = shutil.which("tar") or "tar"
    done = subprocess.run([program, "-C", tmp_path, "-S", *how, "-c", "sparse"], capture_output=True, check=True)
    with pytest.raises(TarError, match="damaged: it has a sparse member"):
        read(done.stdout)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "before the mark"),
        (b"no archive at all" * 100, "number is none"),
        (tar({"a": b"1" * 5000})[:3000], "ends inside a file"),
        (tar({"a": b"1"})[:1024], "before the mark"),
        (tar({"a" * 200: b""})[:800], "before the mark"),
    ],
    ids=["empty", "nonsense", "cut in a file", "cut between files", "cut in an extended header"],
)
def test_damage_is_said(data, why):
    with pytest.raises(TarError, match=why):
        for _ in Archive(io.BytesIO(data)):
            pass


def test_a_pax_header_that_lies():
    data = tar({"a" * 200: b""}).replace(b"210 path=", b"999 path=")
    with pytest.raises(TarError, match="pax header"):
        read(data)


def test_an_extended_header_is_bounded():
    member = tarfile.TarInfo("x")
    member.type, member.size = b"x", 1 << 30
    with pytest.raises(TarError, match="extended header of 1073741824"):
        read(member.tobuf(tarfile.GNU_FORMAT) + bytes(4096))


def test_memory_does_not_grow_with_a_file():
    class Zeros(io.BytesIO):
        left = 300 << 20

        def read(self, size=-1):
            if got := super().read(size):
                return got
            size = min(size, self.left)
            self.left -= size
            return bytes(size)

        def readinto(self, buffer):
            got = self.read(len(buffer))
            buffer[: len(got)] = got
            return len(got)

    member = tarfile.TarInfo("big")
    member.size = 256 << 20
    tracemalloc.start()
    for _ in (archive := Archive(Zeros(member.tobuf()))):
        for _ in itertools.islice(archive.pieces(), 3):
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


@given(st.binary(max_size=3000))
def test_arbitrary_bytes_are_read_or_refused(data):
    with contextlib.suppress(TarError):
        read(data)


SOUND = tar({"d/" * 60 + "x": b"1" * 700, "l": link("x"), "h": File(hard="l")})


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_archive_is_read_or_refused(data):
    damaged = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
        block = at // 512 * 512
        if data.draw(st.booleans()):  # with the checksum put right, the damage gets further
            damaged[block + 148 : block + 156] = b" " * 8
            damaged[block + 148 : block + 156] = b"%06o\0 " % sum(damaged[block : block + 512])
    archive = Archive(io.BytesIO(bytes(damaged)))
    with contextlib.suppress(TarError):
        for _ in archive:
            for _ in archive.pieces():
                pass
