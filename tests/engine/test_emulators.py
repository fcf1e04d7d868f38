"""Emulators for real: entries of this kernel in a namespace of its own, and the engine's containers."""

import contextlib
import io
import os
import subprocess
import sys
import tarfile
import uuid
from pathlib import Path

import pytest

from pytest_multiarch.emulators import binfmt
from pytest_multiarch.emulators.binfmt_image import BinfmtImage
from pytest_multiarch.emulators.emulators import Emulators
from pytest_multiarch.emulators.programs import probe
from pytest_multiarch.emulators.runners import in_container
from pytest_multiarch.engine.client import SESSION, Engine
from pytest_multiarch.errors import EmulatorError
from pytest_multiarch.platforms import Platform

HERE = Path(__file__).parent
OWN = [
    "unshare",
    "-Urm",
    "sh",
    "-c",
    'mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc && exec "$@"',
    "sh",
]

#: What labels our containers.
SESSION_OF_OURS = f"test-emulators-{uuid.uuid4().hex[:8]}"

#: Seldom used, so that nobody misses its entry meanwhile.
SELDOM = Platform.parse("mips64le")


def test_in_a_binfmt_misc_of_its_own():
    if subprocess.run([*OWN, "true"], capture_output=True, timeout=10).returncode != 0:
        pytest.skip("NOT CHECKED: a user namespace has no binfmt_misc of its own here (Linux 6.7 has)")
    env = {**os.environ, "MULTIARCH_TEST_OUTER_NS": os.readlink("/proc/self/ns/user")}
    left = subprocess.run(
        [*OWN, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", HERE / "own_binfmt.py"],
        capture_output=True,
        text=True,
        env=env,
        timeout=120,
    )
    assert left.returncode == 0, left.stdout + left.stderr
    assert "skipped" not in left.stdout


@pytest.fixture(scope="module", params=["containerd", "classic"])
def engine(request):
    """Return our client of the engine of each image store in turn."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in request.getfixturevalue(request.param).env.items():
            patch.setenv(name, value)
        yield Engine(session=SESSION_OF_OURS)


def made_here(engine):
    """Return what there is of ours: no container, no image may be left."""
    containers = engine.call("ps", "-aq", "--filter", f"label={SESSION}={SESSION_OF_OURS}").text
    return containers, engine.call("images", "-q", "multiarch.local/multiarch-probe*").text


def test_a_container_of_the_probe_alone_says_what_the_empty_root_says(engine):
    with in_container(engine, probe(engine.platform)) as run:
        said = run({})
        assert (said.runs, said.keeps_name, said.machine) == (True, True, os.uname().machine)
    assert made_here(engine) == ("", "")


@pytest.mark.parametrize(
    ("name", "level", "policy", "notes"),
    [
        ("amd64", "", "baseline", ("code for a newer CPU than the oldest runs here too",)),
        ("amd64", "v2", "baseline", ("code for a newer CPU than v2 runs here too",)),
        ("386", "", "baseline", ("code for a newer CPU than the oldest runs here too",)),
        ("amd64", "", "default", ()),
    ],
)
def test_what_runs_natively_says_that_its_oldest_cpu_is_not_enforced(engine, name, level, policy, notes):
    platform = Platform.parse(name)
    if engine.platform.architecture != "amd64":
        pytest.skip("NOT CHECKED: the engine's machine is no amd64")
    found = Emulators(engine, "require", cpu_policy=policy).need(platform.at(level) if level else platform)
    assert (found.version, found.notes) == (None, notes)


@contextlib.contextmanager
def kernel_wide(engine):
    """Let a test change the machine's own entries, and put them back."""
    if os.geteuid() != 0 or not engine.shares_kernel or not binfmt.mount():
        pytest.skip("NOT CHECKED: only root, on the engine's own machine, may change its entries")
    before = {entry.name for entry in binfmt.entries()}
    if any(entry.takes(probe(SELDOM)) for entry in binfmt.entries()):
        pytest.skip(f"NOT CHECKED: this machine has an entry for {SELDOM} already")
    try:
        yield
    finally:
        for entry in binfmt.entries():
            if entry.name not in before:
                binfmt._write(binfmt.FOLDER / entry.name, b"-1")


class Elsewhere(Engine):
    """The same engine, taken for one on another machine: nothing of this one's kernel is looked at."""

    shares_kernel = False


def test_an_entry_without_p_is_seen_in_a_container_too(engine):
    emulator = next(binfmt.emulators(SELDOM), None)
    with kernel_wide(engine):
        line = binfmt.line("multiarch-test", SELDOM.elf, str(emulator)).decode().rpartition(":")[0]
        binfmt._write(binfmt.FOLDER / "register", f"{line}:F".encode())
        with in_container(engine, probe(SELDOM)) as run:
            assert (run({}).runs, run({}).keeps_name) == (True, False)
            assert run({"QEMU_VERSION": "1"}).version.startswith("qemu-mips64el version")
            assert "CPU" in run({"QEMU_CPU": "nonsense"}).said
    assert made_here(engine) == ("", "")


# What tonistiigi/binfmt does with its arguments and variables (its cmd/binfmt/main.go), in shell: the real image
# can't be had without a registry.
STAND_IN = r"""#!/bin/sh
folder=/proc/sys/fs/binfmt_misc
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x08\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\x00\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
[ -e $folder/status ] || mount -t binfmt_misc binfmt_misc $folder || exit 0
while [ $# -gt 0 ]; do
  case $1 in --install) install=$2 ;; --uninstall) uninstall=$2 ;; esac
  shift 2
done
for path in $folder/$uninstall; do
  [ -n "$uninstall" ] && name=${path##*/} || continue
  if [ -e "$path" ]; then echo -1 >"$path" && echo "uninstalling: $name OK" >&2
  else echo "uninstalling: $name not found" >&2; fi
done
[ -n "$install" ] || [ -n "$ALWAYS" ] || exit 0
name=${QEMU_BINARY_PREFIX}qemu-mips64el
if [ -e $folder/$name ]; then echo "installing: $install $name already registered" >&2
else
  echo ":$name:M:0:$magic:$mask:/usr/bin/$name:CF${QEMU_PRESERVE_ARGV0:+P}" >$folder/register
  echo "installing: $install OK" >&2
fi
exit 0
"""


@pytest.fixture(scope="module")
def binfmt_image(engine):
    """Return what makes an image of that program under a name, with this machine's QEMU in it."""
    emulator = next(binfmt.emulators(SELDOM), None)
    if emulator is None:
        pytest.skip(f"NOT CHECKED: no static qemu-{SELDOM.qemu} on this machine")
    made = []

    def make(repository, program=STAND_IN):
        tag = f"{repository}:{uuid.uuid4().hex[:8]}"
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", dereference=True) as tar:
            for path in needed("/bin/sh", "/bin/mount"):
                tar.add(path, path)
            tar.add(emulator, "/usr/bin/qemu-mips64el")
            info = tarfile.TarInfo("/binfmt")
            info.size, info.mode = len(program), 0o755
            tar.addfile(info, io.BytesIO(program.encode()))
        change = ("--change", 'ENTRYPOINT ["/binfmt"]', "--change", "ENV PATH=/bin")
        engine.call("import", *change, "-", tag, input=packed.getvalue())
        made.append(tag)
        return tag

    yield make
    for tag in made:
        engine.call("image", "rm", "--force", tag)


def needed(*programs):
    """Return programs with the libraries that they load."""
    listed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    return [
        *programs,
        *sorted({word for word in listed.split() if word.startswith("/") and not word.endswith(":")}),
    ]


def by_image(image):
    """Return the emulators of an engine elsewhere, where only the image can register."""
    return Emulators(Elsewhere(session=SESSION_OF_OURS), "auto", image)


def test_a_binfmt_image_registers_what_is_missing_under_our_name(engine, binfmt_image):
    image = binfmt_image("multiarch.local/test/binfmt")
    with kernel_wide(engine):
        found = by_image(image).need(SELDOM)
        assert (found.cpu, found.platform.machines) == ("MIPS64R2-generic", {"mips64"})
        assert found.notes == (f"registered by {image} as multiarch-qemu-mips64el",)
        flags = {entry.name: entry.flags for entry in binfmt.entries() if entry.takes(probe(SELDOM))}
        assert flags == {"multiarch-qemu-mips64el": "POCF"}
        # By its name: without one the entries of other sessions on this machine would go too.
        assert BinfmtImage(engine, image).unregister("multiarch-qemu-mips64el") == ["multiarch-qemu-mips64el"]
        assert not any(entry.takes(probe(SELDOM)) for entry in binfmt.entries())
    assert made_here(engine) == ("", "")


def test_a_broken_entry_of_the_images_own_name_is_no_obstacle(engine, binfmt_image):
    with kernel_wide(engine):
        line = binfmt.line("qemu-mips64el", SELDOM.elf, "/nowhere/qemu-mips64el").decode().rpartition(":")[0]
        binfmt._write(binfmt.FOLDER / "register", f"{line}:".encode())
        assert by_image(binfmt_image("multiarch.local/test/binfmt")).need(SELDOM).cpu
        assert {"qemu-mips64el", "multiarch-qemu-mips64el"} <= {entry.name for entry in binfmt.entries()}


def test_the_kind_without_arguments_registers_what_it_has(engine, binfmt_image):
    program = STAND_IN.replace("#!/bin/sh\n", "#!/bin/sh\n[ $# = 0 ] || exit 64\nALWAYS=1\n")
    with kernel_wide(engine):
        found = by_image(binfmt_image("multiarch.local/docker/binfmt", program)).need(SELDOM)
        assert found.cpu == "MIPS64R2-generic"
        assert any(entry.name == "qemu-mips64el" for entry in binfmt.entries())


def test_an_image_that_says_ok_and_registers_nothing_is_found_out(engine, binfmt_image):
    image = binfmt_image("multiarch.local/test/binfmt", "#!/bin/sh\necho 'installing: mips64le OK' >&2\n")
    with kernel_wide(engine), pytest.raises(EmulatorError) as caught:
        by_image(image).need(SELDOM)
    assert "but then: exec /multiarch-probe: exec format error" in caught.value.evidence
    assert made_here(engine) == ("", "")


def test_an_image_that_may_not_mount_says_to_register_on_the_machine(engine, binfmt_image):
    program = "#!/bin/sh\necho 'error: cannot mount binfmt_misc filesystem: operation not permitted' >&2\n"
    with kernel_wide(engine), pytest.raises(EmulatorError) as caught:
        by_image(binfmt_image("multiarch.local/test/binfmt", program)).need(SELDOM)
    assert "refuses a privileged container" in caught.value.evidence
    assert "--multiarch-binfmt=require" in caught.value.evidence


def test_an_image_that_cannot_be_had_names_the_option(engine):
    with kernel_wide(engine), pytest.raises(EmulatorError) as caught:
        by_image("127.0.0.1:9/nobody/binfmt:1").need(SELDOM)
    assert "127.0.0.1:9/nobody/binfmt:1 can't be had" in caught.value.evidence
    assert "--multiarch-binfmt-image" in str(caught.value)
    assert made_here(engine) == ("", "")
