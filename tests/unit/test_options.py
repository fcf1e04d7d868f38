"""From texts to settings: which of two places counts, what each word becomes. No process is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_multiarch import SettingsError, options
from pytest_multiarch.options import OPTIONS, Settings


def settings(pytester: pytest.Pytester, *args: str, ini: str = "") -> Settings:
    pytester.makeini(f"[pytest]\n{ini}\n")
    return options.settings(pytester.parseconfig("-p", "no:cacheprovider", *args))


def test_nobody_said_a_word(pytester: pytest.Pytester) -> None:
    found = settings(pytester)
    assert (found.platforms, found.source, found.active, found.image_said) == ((), "", False, False)
    assert (found.builder, found.driver, found.binfmt, found.cpu) == ("session", "auto", "auto", "baseline")
    assert (found.timeout, found.build_timeout, found.output_limit) == (60.0, 3600.0, 128 << 20)
    assert found.image.recipe == pytester.path / "Dockerfile"
    assert found.jobs >= 1


@pytest.mark.parametrize("option", [option for option in OPTIONS if not option.ini_only], ids=lambda one: one.name)
def test_every_option_has_an_ini_twin_and_the_command_line_wins(
    option: options.Option, pytester: pytest.Pytester
) -> None:
    one, other = VALUES[option.name]
    flag = f"--multiarch-{option.name}={one}"
    by_flag, by_ini = settings(pytester, flag), settings(pytester, ini=f"{option.ini_name} = {one}")
    both = settings(pytester, flag, ini=f"{option.ini_name} = {other}")
    for field in ("image", option.name.replace("-", "_")):
        if hasattr(by_flag, field):
            assert getattr(by_flag, field) == getattr(by_ini, field) == getattr(both, field)
    assert settings(pytester, ini=f"{option.ini_name} = {other}") != by_ini


VALUES = {
    "platforms": ("arm64", "s390x"),
    "image": ("a:1", "b:2"),
    "context": ("/a", "/b"),
    "dockerfile": ("/a/Dockerfile", "/b/Dockerfile"),
    "target": ("one", "two"),
    "build-arg": ("A=1", "A=2"),
    "build-context": ("base=/a", "base=/b"),
    "secret": ("id=a,src=/a", "id=a,src=/b"),
    "cache-from": ("type=local,src=/a", "type=local,src=/b"),
    "cache-to": ("type=local,dest=/a", "type=local,dest=/b"),
    "builder": ("one", "two"),
    "driver": ("docker", "docker-container"),
    "binfmt": ("require", "never"),
    "binfmt-image": ("a:1", "b:2"),
    "buildkit-image": ("a:1", "b:2"),
    "cpu": ("default", "baseline"),
    "baseline": ("amd64=v2", "amd64=v3"),
    "timeout": ("1.5", "2"),
    "build-timeout": ("10", "20"),
    "jobs": ("3", "4"),
    "output-limit": ("1k", "2k"),
}


def test_of_a_repeated_single_value_the_last_counts(pytester: pytest.Pytester) -> None:
    assert settings(pytester, "--multiarch-target=a", "--multiarch-target=b").image.target == "b"


def test_lists_are_split_on_commas_and_lines_and_repeats_add_up(pytester: pytest.Pytester) -> None:
    found = settings(pytester, "--platforms=arm64,s390x", "--platforms= 386 ,", ini="")
    assert found.platforms == ("linux/arm64", "linux/s390x", "linux/386")
    found = settings(pytester, ini="multiarch_platforms = arm64, s390x\n    386")
    assert found.platforms == ("linux/arm64", "linux/s390x", "linux/386")


def test_a_platform_under_two_names_is_one(pytester: pytest.Pytester) -> None:
    assert settings(pytester, "--platforms=arm64,aarch64,linux/arm64/v8").platforms == ("linux/arm64",)


def test_all_is_the_ini_list_in_its_place(pytester: pytest.Pytester) -> None:
    found = settings(pytester, "--platforms=386,all,native", ini="multiarch_platforms = arm64, 386")
    assert found.platforms == ("linux/386", "linux/arm64", "native")
    assert found.source == "--platforms"


def test_all_of_a_published_image_waits_for_its_index(pytester: pytest.Pytester) -> None:
    assert settings(pytester, "--platforms=all", "--multiarch-image=a:1").platforms == ("all",)


def test_relative_paths_start_where_they_were_written(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = pytester.path
    by_ini = settings(pytester, ini="multiarch_context = sub\nmultiarch_secrets = id=a,src=key")
    assert by_ini.image.folder == root / "sub"
    assert list(by_ini.image.secrets) == [f"id=a,src={root}/key"]
    folder = root / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    by_option = settings(pytester, "--multiarch-context=sub", "--multiarch-build-context=a=b", f"-c{root}/tox.ini")
    assert by_option.image.folder == folder / "sub"
    assert by_option.image.build_contexts == {"a": f"{folder}/b"}


@pytest.mark.parametrize(
    "address", ["https://host/repo.git#main", "docker-image://alpine:3", "oci-layout:///a@sha256:0", "target:base"]
)
def test_an_address_is_no_path(address: str, pytester: pytest.Pytester) -> None:
    found = settings(pytester, f"--multiarch-build-context=base={address}")
    assert found.image.build_contexts == {"base": address}


@pytest.mark.parametrize(("text", "size"), [("1048576", 1 << 20), ("128MiB", 128 << 20), ("2 g", 2 << 30)])
def test_sizes(text: str, size: int, pytester: pytest.Pytester) -> None:
    assert settings(pytester, f"--multiarch-output-limit={text}").output_limit == size


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", "12 parsecs"])
def test_no_sizes(text: str, pytester: pytest.Pytester) -> None:
    with pytest.raises(SettingsError, match=r"--multiarch-output-limit: .* is not a size such as"):
        settings(pytester, f"--multiarch-output-limit={text}")


def test_naming_the_image_makes_it_active_and_other_words_do_not(pytester: pytest.Pytester) -> None:
    assert settings(pytester, "--multiarch-image=a:1").active
    assert settings(pytester, ini="multiarch_platforms = arm64").active
    assert not settings(pytester, "--multiarch-timeout=5").active


def test_several_words_for_docker_run_may_stand_on_one_line(pytester: pytest.Pytester) -> None:
    hardening = "--cap-drop=ALL --security-opt=no-new-privileges --env='A=b c'"
    found = settings(pytester, ini=f"multiarch_run_args = {hardening}\n    --read-only")
    words = ("--cap-drop=ALL", "--security-opt=no-new-privileges", "--env=A=b c", "--read-only")
    assert found.run_args == words
