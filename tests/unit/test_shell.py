"""The shell protocol against real shells of this machine; the containers' own follow in tests/engine."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_multiarch.containers.shell import Shell, _Marked, framed, run_once
from pytest_multiarch.errors import ContainerError, DeadlinePassed, OutputTooLarge

SHELLS = [["dash"], ["bash", "--posix"], ["busybox", "sh"], ["mksh"]]


@pytest.fixture(params=[words for words in SHELLS if shutil.which(words[0])], ids=lambda words: words[0])
def argv(request: pytest.FixtureRequest) -> list[str]:
    return list(request.param)


@pytest.fixture
def shell(argv: list[str]) -> Iterator[Shell]:
    opened = Shell(argv, limit=200 * 1024 * 1024, timeout=10)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("command", "code", "out"),
    [
        ("true", 0, b""),
        ("exit 255", 255, b""),
        ("exit 256", 0, b""),
        ("printf 'a\\0b\\377'", 0, b"a\0b\xff"),
        ("echo one; echo two", 0, b"one\ntwo\n"),
        ("printf 'no final newline'", 0, b"no final newline"),
        ("set -e; false; echo never", 1, b""),
        ("cd /; pwd", 0, b"/\n"),
        ("exec sh -c 'exit 9'", 9, b""),
        ("sh -c 'kill -9 $$'", 137, b""),
        ("cat <<X\nhere $((1 + 1))\nX", 0, b"here 2\n"),
        ("cat", 0, b""),
        ("echo '# no comment' # a comment", 0, b"# no comment\n"),
        ("sleep 60 & echo started", 0, b"started\n"),
        ("a=1; b='it'\"'\"'s'; echo \"$a $b\"", 0, b"1 it's\n"),
        ("", 0, b""),
        ("false", 1, b""),
        ("test -e '/no such file'", 1, b""),
        ("test 1 -eq", 2, b""),
        ("test -d /etc -a -d /tmp ", 0, b""),
        ("head -c 5 -- /proc/1/comm/no", 1, b""),
        ("cat '/dev/null'  -", 0, b""),
        ("test 1 -lt 2", 0, b""),
    ],
)
def test_leaves_what_a_shell_of_its_own_leaves(shell: Shell, command: str, code: int, out: bytes) -> None:
    answer = shell.run(command, 10)
    assert (answer.returncode, answer.stdout, answer.ended) == (code, out, False)


def test_keeps_the_streams_apart(shell: Shell) -> None:
    answer = shell.run("echo out; echo err >&2", 10)
    assert (answer.stdout, answer.stderr) == (b"out\n", b"err\n")


@pytest.mark.parametrize("command", ["if", "(", "echo 'open", "cat <<X", "fi", '"'])
def test_survives_a_syntax_error(shell: Shell, command: str) -> None:
    shell.run(command, 10)
    assert shell.run("echo on", 10).stdout == b"on\n"


def test_a_command_does_not_leak_into_the_next(shell: Shell) -> None:
    shell.run("cd /tmp; x=1; export Y=2; set -f; umask 0; f() { echo f; }; trap 'echo trap' EXIT", 10)
    answer = shell.run('echo "$x$Y"; echo /etc/passw[d]; f', 10)
    assert answer.stdout.splitlines()[:2] == [b"", b"/etc/passwd"]
    assert answer.returncode == 127


@pytest.mark.parametrize(
    "command",
    ["true", "test -e /etc/passwd", "cat -- '/a b/$x'", "stat -c %a /tmp", "grep -q '^root:' /etc/passwd"],
)
def test_a_plain_command_needs_no_subshell(command: str) -> None:
    assert framed(command, "MARK").startswith(f"{command} </dev/null; echo MARK")


@pytest.mark.parametrize(
    "command",
    ["", "cd /", "exit", "exec true", "x=1 true", "true; cd /", "true\ncd /", "true & true", "test $x", "cat *",
     "cat <<X\nX", "cat `id`", "cat ~", "cat 'a", "cat 'a'$x", "true#", "testing", "cat >/x", "true ()", "kill $"],
)  # fmt: skip
def test_any_other_command_gets_one(command: str) -> None:
    assert framed(command, "MARK").startswith("(eval '")


def test_the_shell_itself_killed_gives_the_code_and_an_end(argv: list[str]) -> None:
    shell = Shell(["sh", "-c", '"$@"; exit $?', "client", *argv], limit=1000, timeout=10)
    answer = shell.run("echo before; kill -9 $$", 10)
    assert (answer.returncode, answer.stdout, answer.ended, answer.lost) == (137, b"before\n", True, False)
    shell.close()


@pytest.mark.parametrize(
    ("client", "code"),
    [
        ("sh; kill -9 $$", -9),
        ("sh; exit 255", 255),
        ("sh; exit 1", 1),
        ("sh; exit 0", 0),
        ("sh; exec sleep 60 >&- 2>&-", -1),
    ],
)
def test_a_client_that_is_cut_off_is_no_exit_code(client: str, code: int) -> None:
    shell = Shell(["sh", "-c", client], limit=1000, timeout=10)
    answer = shell.run("kill -9 $$", 10)
    assert (answer.returncode, answer.ended, answer.lost) == (code, True, True)
    shell.close()


NOISE = "while sleep 0.02; do echo noise; echo noise >&2; done"


@pytest.mark.parametrize(
    "left",
    [
        f"{NOISE} &",
        f"({NOISE}) & true",
        f"sh -c '({NOISE}) &'",
        f"setsid sh -c '{NOISE}' & true",
        f"{{ {NOISE}; }} >&2 2>/dev/null &",
        f"{{ {NOISE} >&3; }} 3>&1 >/dev/null 2>&1 &",
        "sleep 60 &",
    ],
)
def test_a_shell_whose_output_the_background_holds_takes_no_other_command(shell: Shell, left: str) -> None:
    assert b"mine" in shell.run(f"{left}\necho mine", 10).stdout.splitlines()
    assert shell.held
    assert not shell.open


@pytest.mark.parametrize("left", ["nohup sleep 60 >/dev/null 2>&1 &", "sleep 60 >/dev/null 2>&1 &", ":"])
def test_a_shell_that_nobody_else_writes_to_goes_on(shell: Shell, left: str) -> None:
    shell.run(f"{left}\nsleep 0.2", 10)  # the child opens /dev/null after its birth
    assert shell.open
    assert shell.run("echo mine", 10).stdout == b"mine\n"


def test_a_shell_that_cannot_tell_who_holds_it_takes_no_other_command(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_multiarch.containers.shell._LOOK", 0.0)
    shell.run("sleep 60 >/dev/null 2>&1 &", 10)
    assert not shell.open


def test_a_daemon_whose_shell_is_given_up_can_write_on(shell: Shell, tmp_path: Path) -> None:
    written = tmp_path / "written"
    shell.run(f"{{ head -c 3000000 /dev/zero; echo done >{written}; }} & sleep 0", 10)
    deadline = time.monotonic() + 10
    while not written.exists():
        assert time.monotonic() < deadline, "it waits for a reader"
        time.sleep(0.01)


@pytest.mark.parametrize("left", ["sleep 60 &", f"{NOISE} &", "cat; sleep 60 &", "(cat; exit 3)"])
def test_a_shell_of_its_own_is_heard_to_the_mark(argv: list[str], left: str) -> None:
    began = time.monotonic()
    answer = run_once(argv, left, b"in" * 100_000, limit=1 << 20, timeout=10)
    assert (answer.returncode, answer.stdout) == (3 * ("exit" in left), b"in" * 100_000 * ("cat" in left))
    assert time.monotonic() - began < 5


def test_a_shell_of_its_own_has_a_deadline_and_a_limit(argv: list[str]) -> None:
    with pytest.raises(DeadlinePassed, match=r"did not end in 0\.3 seconds"):
        run_once(argv, "sleep 60", b"", limit=1000, timeout=0.3)
    with pytest.raises(OutputTooLarge, match="more than 1000 bytes"):
        run_once(argv, "yes", b"", limit=1000, timeout=10)


def test_output_with_an_earlier_mark_is_output(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = iter(["aaaa", "bbbb"])
    monkeypatch.setattr("pytest_multiarch.containers.shell.secrets.token_hex", lambda size: next(marks))
    shell.run("true", 10)
    assert shell.run("cat /dev/null aaaa", 10).stderr.endswith(b"aaaa: No such file or directory\n")


def test_a_hundred_megabytes_to_the_byte(argv: list[str], shell: Shell) -> None:
    answer = shell.run("head -c 100000000 /dev/zero; echo end", 60)
    assert len(answer.stdout) == 100_000_004
    assert answer.stdout.endswith(b"\0end\n")


def test_a_command_of_a_mebibyte(shell: Shell) -> None:
    text = "x" * (1 << 20)
    assert shell.run(f"echo '{text}' | wc -c", 60).stdout.split() == [b"1048577"]


def test_more_than_the_limit_is_an_error_that_says_so(argv: list[str]) -> None:
    shell = Shell(argv, limit=1000, timeout=10)
    with pytest.raises(OutputTooLarge, match="more than 1000 bytes"):
        shell.run("head -c 3000000 /dev/zero", 10)
    assert not shell.open


def test_a_deadline_that_passes_says_what_was_written(shell: Shell) -> None:
    with pytest.raises(DeadlinePassed, match=r"did not end in 0\.3 seconds") as caught:
        shell.run("echo begun; sleep 60", 0.3)
    assert "begun" in caught.value.evidence


def test_no_shell_is_an_error_with_what_the_client_said() -> None:
    with pytest.raises(ContainerError, match="no shell") as caught:
        Shell(["sh", "-c", "echo no such container >&2; exit 1"], limit=1000, timeout=10)
    assert "no such container" in caught.value.evidence


def test_what_the_client_prints_first_is_nobodys_output() -> None:
    shell = Shell(["sh", "-c", "echo warning; echo warning >&2; exec sh"], limit=1000, timeout=10)
    answer = shell.run("echo mine", 10)
    assert (answer.stdout, answer.stderr) == (b"mine\n", b"")
    shell.close()


def test_threads_with_a_shell_each_do_not_meet(argv: list[str]) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        shell = Shell(argv, limit=1000, timeout=10)
        for _ in range(50):
            if not shell.open:  # a process that another thread starts here holds our pipes until it has begun
                shell.close()
                shell = Shell(argv, limit=1000, timeout=10)
            answer = shell.run(f"echo {number}", 10)
            wrong.extend([answer] if answer.stdout != b"%d\n" % number else [])
        shell.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@given(st.lists(st.binary(max_size=40), max_size=6), st.binary(min_size=1, max_size=8), st.integers(0, 255))
def test_a_stream_is_cut_at_its_mark_however_it_comes(pieces: list[bytes], tail: bytes, code: int) -> None:
    text = b"".join(pieces)
    stream = _Marked(b"0123456789abcdef")
    whole = text + b"0123456789abcdef %d /proc/1 /proc/23\n" % code + tail
    cuts = [len(piece) for piece in pieces] + [1] * 20
    at, done = 0, False
    for size in cuts:
        done = stream.add(whole[at : at + size])
        at += size
        if done:
            break
    assert done or stream.add(whole[at:])
    assert (bytes(stream.data), stream.code, stream.words) == (text, code, {b"/proc/1", b"/proc/23"})


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@pytest.mark.skipif(not shutil.which("dash"), reason="Debian's sh")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(
    st.lists(WORDS, min_size=1, max_size=4),
    st.sampled_from(["printf '%s\\n' {}", "echo {}; exit 3", "set -- {}; echo $#"]),
)
def test_any_words_arrive_as_with_sh_c(words: list[str], form: str) -> None:
    import shlex

    command = form.format(shlex.join(words))
    peer = subprocess.run(["dash", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    answer = _dash().run(command, 10)
    assert (answer.returncode, answer.stdout) == (peer.returncode, peer.stdout)


@given(st.text(st.sampled_from("ab'\"\\$`(){};|<\n #!*?~=-"), max_size=25))
@settings(max_examples=300, deadline=None)
def test_any_text_leaves_the_shell_in_order(text: str) -> None:
    _dash().run(text, 10)
    answer = _dash().run("echo on", 10)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, b"on\n", b"")


_opened: list[Shell] = []


def _dash() -> Shell:
    if not _opened or not _opened[-1].open:
        _opened.append(Shell(["dash"], limit=10_000_000, timeout=10))
    return _opened[-1]
