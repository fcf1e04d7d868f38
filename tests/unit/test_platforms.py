"""What platforms are called, and what is true of each."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_multiarch.errors import SettingsError, UnknownPlatform
from pytest_multiarch.platforms import KNOWN, VARIANTS, Platform

ALL = (*KNOWN, *VARIANTS)
SPELLED = [(word, platform) for platform in ALL for word in platform.spellings]

# The list of the contract: names people use, and the platform that each must be.
CONTRACT = {
    "linux/amd64": "amd64 x86_64 x64",
    "linux/386": "386 i386 i686 x86",
    "linux/arm64": "arm64 aarch64 arm64v8 armv8 armv8l arm64/v8",
    "linux/arm/v7": "arm/v7 arm arm32 armhf armv7 armv7l arm32v7 aarch32",
    "linux/arm/v6": "arm/v6 armv6 armv6l arm32v6",
    "linux/arm/v5": "arm/v5 armel armv5 armv5l arm32v5",
    "linux/ppc64le": "ppc64le ppc64el",
    "linux/s390x": "s390x",
    "linux/riscv64": "riscv64",
    "linux/loong64": "loong64 loongarch64",
    "linux/mips64le": "mips64le",
    "linux/amd64/v2": "amd64/v2",
    "linux/amd64/v3": "amd64/v3 x86-64-v3",
    "linux/amd64/v4": "amd64/v4",
}


@pytest.mark.parametrize("name", CONTRACT)
def test_the_names_of_the_contract(name):
    for word in CONTRACT[name].split():
        assert str(Platform.parse(word)) == name, word


def cased(word):
    choices = st.lists(st.booleans(), min_size=len(word), max_size=len(word))
    return choices.map(lambda ups: "".join(c.upper() if up else c for c, up in zip(word, ups, strict=True)))


@given(
    st.sampled_from(SPELLED).flatmap(lambda row: st.tuples(cased(row[0]), st.just(row[1]))),
    st.sampled_from(["", "linux/", "Linux/", "LINUX/"]),
    st.sampled_from(["", " ", "\t", "\n"]),
)
def test_every_spelling_is_read_in_any_case_with_or_without_linux(spelled, prefix, space):
    word, platform = spelled
    assert Platform.parse(f"{space}{prefix}{word}{space}") is platform


@given(st.one_of(st.text(), st.sampled_from(SPELLED).flatmap(lambda row: st.text().map(row[0].__add__))))
def test_other_text_is_one_kind_of_error_that_names_known_platforms(text):
    try:
        platform = Platform.parse(text)
    except UnknownPlatform as error:
        assert "linux/arm64" in str(error)  # noqa: PT017 - what is parsed is right too
        assert len(str(error)) < 500  # noqa: PT017
    else:
        assert platform in ALL


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("arm/v9", "arm/v7"),
        ("s309x", "s390x"),
        ("amd46", "amd64"),
        ("windows/amd64", "amd64"),
        ("rsicv64", "riscv64"),
    ],
)
def test_an_unknown_name_names_the_nearest(text, near):
    with pytest.raises(UnknownPlatform, match=f"the nearest is linux/{near}"):
        Platform.parse(text)


@pytest.mark.parametrize("platform", ALL, ids=str)
def test_the_canonical_name_is_a_fixed_point(platform):
    assert str(Platform.parse(str(platform))) == str(platform)
    assert Platform.parse(str(platform)) == platform


def test_no_two_platforms_share_a_spelling_or_a_name():
    assert len({word for word, _ in SPELLED}) == len(SPELLED)
    assert len({str(platform) for platform in ALL}) == len(ALL) == len(set(ALL))
    assert all(word == word.lower().strip() and not word.startswith("linux/") for word, _ in SPELLED)


def test_the_order_is_the_one_of_the_list():
    names = "386 amd64 arm/v5 arm/v6 arm/v7 arm64 ppc64le s390x riscv64 loong64 mips64le"
    assert [str(platform) for platform in KNOWN] == [f"linux/{name}" for name in names.split()]


@pytest.mark.parametrize(
    ("name", "triple"),
    [
        ("arm64", ("linux", "arm64", "v8")),
        ("arm64", ("linux", "arm64", "")),
        ("arm64", ("Linux", "AArch64", "8")),
        ("arm", ("linux", "arm", "")),
        ("arm", ("linux", "arm", "7")),
        ("arm/v5", ("linux", "arm", "v5")),
        ("386", ("linux", "i386", "")),
        ("amd64", ("linux", "x86_64", "v1")),
        ("amd64/v2", ("linux", "amd64", "v2")),
    ],
)
def test_a_config_means_exactly_one_platform(name, triple):
    assert [p for p in ALL if p.matches(*triple)] == [Platform.parse(name)]


@pytest.mark.parametrize(
    "triple",
    [("windows", "amd64", ""), ("linux", "arm", "v8"), ("linux", "armel", ""), ("", "", ""), ("linux", "", "")],
)
def test_a_config_may_mean_none(triple):
    assert not any(p.matches(*triple) for p in ALL)


@pytest.mark.parametrize(
    ("name", "natively", "oldest", "default"),
    [
        ("amd64", "x86_64", "x86_64", "x86_64"),
        ("386", "x86_64 i686 i586 i486 i386", "i686", "i686 i586 i486 i386"),
        ("arm/v5", "aarch64 armv8l armv7l armv6l armv5tel armv5tejl", "armv5tel", "armv7l armv8l"),
        ("arm/v6", "aarch64 armv8l armv7l armv6l", "armv6l", "armv7l armv8l"),
        ("arm/v7", "aarch64 armv8l armv7l", "armv7l", "armv7l armv8l"),
        ("arm64", "aarch64", "aarch64", "aarch64"),
        ("mips64le", "mips64", "mips64", "mips64"),
    ],
)
def test_what_uname_says_depends_on_what_runs_it(name, natively, oldest, default):
    platform = Platform.parse(name)
    assert platform.running(emulated=False, baseline=True).machines == set(natively.split())
    assert platform.running(emulated=True, baseline=True).machines == {oldest}
    assert platform.running(emulated=True, baseline=False).machines == set(default.split())
    assert platform.machines == {*natively.split(), oldest}


@pytest.mark.parametrize("platform", ALL, ids=str)
def test_emulated_on_its_oldest_cpu_exactly_one_word_is_right(platform):
    narrowed = platform.running(emulated=True, baseline=True)
    assert len(narrowed.machines) == 1
    assert narrowed == platform
    assert hash(narrowed) == hash(platform)


@pytest.mark.parametrize(
    ("name", "level", "cpus"),
    [
        ("amd64", "v2", ("Nehalem",)),
        ("amd64", "v3", ("Haswell-noTSX",)),
        ("ppc64le", "power9", ("power9",)),
        ("s390x", "z14", ("qemu,vxeh2=off", "qemu")),
        ("riscv64", "rva22", ("rva22u64",)),
    ],
)
def test_a_baseline_can_be_raised(name, level, cpus):
    raised = Platform.parse(name).at(level)
    assert (raised, raised.level, raised.cpus) == (Platform.parse(name), level, cpus)


def test_amd64_v3_has_the_cpu_of_amd64_raised_to_v3():
    assert Platform.parse("amd64/v3").cpus == Platform.parse("amd64").at("v3").cpus
    assert Platform.parse("amd64/v3").level == "v3"


@pytest.mark.parametrize(
    ("name", "says"), [("amd64", "v2, v3, v4"), ("arm64", "can't be raised"), ("amd64/v3", "can't")]
)
def test_a_level_that_there_is_not_is_a_settings_error(name, says):
    with pytest.raises(SettingsError, match=says):
        Platform.parse(name).at("v9")


@pytest.mark.parametrize(
    ("name", "flags", "right"),
    [
        ("arm/v7", 0x05000400, True),
        ("arm/v7", 0x05000200, True),
        ("arm/v7", 0x04000000, False),
        ("arm/v7", 0x0, True),
        ("ppc64le", 2, True),
        ("ppc64le", 1, False),
        ("ppc64le", 0, True),
        ("mips64le", 0x80000007, True),
        ("mips64le", 0x80000027, False),  # n32
        ("mips64le", 0x80001007, False),  # o32
        ("riscv64", 5, True),
    ],
)
def test_elf_flags_that_are_unset_are_never_an_alarm(name, flags, right):
    assert Platform.parse(name).elf.allows(flags) is right


def test_who_may_run_whom():
    may = {
        (str(p), str(h))
        for p in KNOWN
        for h in KNOWN
        if p.may_run_natively_on(h) and p.architecture != h.architecture
    }
    assert may == {("linux/386", "linux/amd64")} | {(f"linux/arm/{v}", "linux/arm64") for v in ("v5", "v6", "v7")}


@pytest.mark.parametrize("platform", ALL, ids=str)
def test_a_platform_survives_pickling_whole(platform):
    again = pickle.loads(pickle.dumps(platform))  # noqa: S301 - our own
    assert again == platform
    assert all(getattr(again, name) == getattr(platform, name) for name in ("machines", "cpus", "levels", "elf"))
