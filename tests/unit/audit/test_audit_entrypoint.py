"""What the image starts: found without starting it."""

from __future__ import annotations

import pytest
from audit_samples import File, a_tree, link, program, zipped

from pytest_multiarch.audit import entrypoint
from pytest_multiarch.audit.config import Config
from pytest_multiarch.audit.findings import Severity

SH = {"bin/sh": program(), "usr/bin/env": program()}
FORWARDS = b'#!/bin/sh\nset -e\n# all set\nexport HOME=/app\nexec "$@"\n'


def judge(members, *argv, path="/usr/bin:/bin", **said):
    return entrypoint.judge(a_tree(members), Config("linux", "amd64", argv=argv, env=(("PATH", path),), **said))


def found(*args, severity=Severity.FAILURE, **kwargs):
    return [finding.found for finding in judge(*args, **kwargs).of(severity)]


def unknown(*args, **kwargs):
    return found(*args, severity=Severity.UNVERIFIED, **kwargs)


@pytest.mark.parametrize(
    "argv",
    [
        ("/app/x",),
        ("x",),
        ("./x",),
        ("../app/x",),
        ("/app/link", "-v"),
        ("/app/env",),
        ("/app/forwards",),
        ("/app/forwards", "x"),
        ("/bin/sh", "-c", "exec x --port 80 >/log 2>&1"),
    ],
)
def test_sound(argv):
    app = {"app/x": program(), "usr/bin/x": link("/app/x"), "app/link": link("x")}
    scripts = {"app/forwards": FORWARDS, "app/env": b"#!/usr/bin/env x\n"}
    assert judge({**SH, **app, **scripts}, *argv, folder="/app").findings == ()


def test_missing():
    assert found(SH, "/app/x") == ["/app/x is not in the image"]
    assert found(SH, "x") == ["x is not on PATH (/usr/bin:/bin)"]
    assert found({**SH, "x": link("/nowhere")}, "/x") == ["/x is not in the image: it leads to /nowhere"]
    assert found({**SH, "x": link("x")}, "/x") == ["/x is a symbolic link that leads round in a circle"]


def test_not_executable():
    assert found({"app/x": File(program(), 0o644)}, "/app/x") == ["/app/x is not executable"]
    assert found({"bin/x": File(program(), 0o644)}, "x") == ["x is not executable"]
    both = {"usr/bin/x": File(program(), 0o644), "bin/x": program()}
    assert found(both, "x") == [], "the next one on PATH is taken"


def test_a_folder():
    assert found({"app": File(type=b"5")}, "/app") == ["/app is a folder"]


@pytest.mark.parametrize(
    "data", [b"echo hi\n", b"", b"\xef\xbb\xbf#!/bin/sh\n", zipped({"x": b"1"}), b"\x7fELF not really"]
)
def test_what_the_kernel_can_t_execute(data):
    assert found({**SH, "x": data}, "/x") == ["/x is neither ELF nor begins with `#!`"]


def test_a_script_s_interpreter():
    assert found({"x": b"#!/bin/bash\n"}, "/x") == ["its interpreter /bin/bash is not in the image"]
    assert found({**SH, "x": b"#!/usr/bin/env python3\n"}, "/x") == [
        "its interpreter python3 is not on PATH (/usr/bin:/bin)"
    ]
    assert found({**SH, "x": b"#!/usr/bin/env -S A=1 node --x\n"}, "/x") == [
        "its interpreter node is not on PATH (/usr/bin:/bin)"
    ]
    assert found({"x": b"#!\n"}, "/x") == ["its `#!` names no interpreter"]
    assert found({"x": b"#!/lib\n", "lib": File(b"", 0o644)}, "/x") == ["its interpreter /lib is not executable"]


def test_windows_line_ends():
    (finding,) = judge({**SH, "x": b"#!/bin/sh\r\necho\r\n"}, "/x").findings
    assert finding.where == "/x"
    assert "Windows line ends" in finding.cause
    assert str(finding) == "/x: its interpreter /bin/sh\\r is not in the image"


@pytest.mark.parametrize("line", [b"#!/usr/bin/env sh\r", b"#!/bin/sh -e\r", b"#!/usr/bin/env -S sh -e\r"])
def test_windows_line_ends_behind_an_option(line):
    (finding,) = judge({**SH, "x": line + b"\necho\r\n"}, "/x").of(Severity.FAILURE)
    assert "Windows line ends" in finding.cause
    assert judge({**SH, "x": line[:-1] + b"\necho\n"}, "/x").passed


def test_perl_takes_a_carriage_return_for_nothing():
    assert found({"usr/bin/perl": program(), "x": b"#!/usr/bin/perl -w\r\n"}, "/x") == []


def test_a_byte_order_mark():
    (finding,) = judge({**SH, "x": b"\xef\xbb\xbf#!/bin/sh\n"}, "/x").findings
    assert "byte order mark" in finding.cause


def test_scripts_that_interpret_scripts():
    chain = {f"s{index}": f"#!/s{index + 1}\n".encode() for index in range(4)}
    assert found({**SH, **chain, "s4": b"#!/bin/sh\n"}, "/s0") == []
    assert found({"x": b"#!/x\n"}, "/x") == ["more than 5 scripts interpret each other"]


def test_the_shell_form():
    missing = ["/app/x, which the shell starts, is not in the image"]
    assert found(SH, "/bin/sh", "-c", "exec /app/x --port 80") == missing
    assert found(SH, "/bin/sh", "-c", "exec /app/x >/log 2>&1\n") == missing
    assert found(SH, "/bin/sh", "-ec", "A=1 x") == ["x, which the shell starts, is not on PATH (/usr/bin:/bin)"]
    assert found(SH, "/bin/sh", "-c", "cd /app && ./x; $APP/x") == []
    assert found(SH, "/bin/sh", "-c", "/app/$NAME") == []
    assert found({}, "/bin/sh", "-c", "x") == ["/bin/sh is not in the image"]


@pytest.mark.parametrize(
    "line",
    [
        "/hooks/pre || true; exec /app/x",
        "/hooks/pre; exec /app/x",
        "/hooks/pre & exec /app/x",
        "/hooks/pre | cat",
        "/hooks/pre\nexec /app/x",
    ],
)
def test_a_shell_that_may_go_on_without_its_first_command_is_no_failure(line):
    assert found(SH, "/bin/sh", "-c", line) == []
    assert unknown(SH, "/bin/sh", "-c", line) == ["not followed: a command line of more than one command"]


def test_a_list_in_single_quotes_is_a_shells_command():
    (finding,) = judge(SH, "/bin/sh", "-c", "['/app/x', '-v']").findings
    assert finding.found == "['/app/x', '-v'] is taken for a shell's command"
    assert found(SH, "/bin/sh", "-c", "[ -e /x ]") == []


def test_an_empty_word():
    assert found(SH, "") == ["its first word is empty"]


WRAPPED = [
    ("tini", "--", "/app/x"),
    ("tini", "-g", "-e", "143", "/app/x", "-v"),
    ("env", "MODE=x", "/app/x"),
    ("env", "-i", "-u", "A", "PATH=/nowhere", "/app/x"),
    ("gosu", "1000", "/app/x"),
    ("tini", "--", "env", "A=1", "setsid", "-w", "timeout", "-k", "5", "60", "/app/x"),
    ("/app/forwards", "/app/x"),
    ("sh", "/app/forwards", "/app/x"),
    ("sh", "-c", "exec tini -- /app/x"),
    ("busybox", "env", "/app/x"),
]


@pytest.mark.parametrize("argv", WRAPPED)
def test_what_an_init_or_the_like_starts(argv):
    names = {word for words in WRAPPED for word in words if word.isalpha()}
    tools = {f"bin/{name}": program() for name in names} | {"app/forwards": FORWARDS}
    (said,) = found(tools, *argv)
    assert said.startswith("/app/x, which ")
    assert said.endswith(" starts, is not in the image")
    sound = {**tools, "app/x": program()}
    assert judge(sound, *argv).findings == ()
    config = Config("linux", "amd64", argv=argv, env=(("PATH", "/bin"),))
    assert "/app/x" in entrypoint.programs(a_tree(sound), config)


def test_the_folder_and_the_path_that_env_sets():
    tools = {"bin/env": program(), "opt/bin/x": program()}
    assert found(tools, "env", "PATH=/opt/bin", "x") == []
    assert found(tools, "env", "x") == ["x, which env starts, is not on PATH (/usr/bin:/bin)"]
    assert found(tools, "env", "--chdir=/opt", "./bin/x") == []
    assert found(tools, "env", "-C", "/bin", "./bin/x") == [
        "./bin/x, which env starts, is not in the image: it leads to /bin/bin/x"
    ]


@pytest.mark.parametrize(
    ("argv", "missing"),
    [
        (("sh", "/app/start.sh"), "/app/start.sh, which sh reads,"),
        (("sh", "-e", "start.sh"), "start.sh, which sh reads,"),
        (("python3", "-u", "-W", "error", "main.py", "--port"), "main.py, which python3 reads,"),
        (("python3.11", "-X", "dev", "main.py"), "main.py, which python3.11 reads,"),
        (("node", "--enable-source-maps", "server"), "server, which node reads,"),
        (("perl", "-w", "x.pl"), "x.pl, which perl reads,"),
        (("java", "-Xmx1g", "-cp", "/x", "-Da=b", "-jar", "app.jar"), "app.jar, which java reads,"),
    ],
)
def test_what_an_interpreter_reads(argv, missing):
    tools = {f"bin/{argv[0]}": program()}
    assert found(tools, *argv, folder="/app") == [f"{missing} is not in the image"]
    assert found(tools, *argv, folder="/app", volumes=("/app",)) == []
    texts = {
        f"app/{name}": File(b"text", 0o644) for name in ("start.sh", "main.py", "server.js", "x.pl", "app.jar")
    }
    assert found({**tools, **texts}, *argv, folder="/app") == []


@pytest.mark.parametrize(
    "argv",
    [
        ("python3", "-m", "http.server"),
        ("java", "-cp", "/x", "org.example.Main"),
        ("node", "--unheard-of", "x"),
        ("tini", "--unheard-of", "x"),
        ("sh", "-c", "exec $APP/x"),
        ("sh", "-c", "exec gosu $WHO $APP"),
        ("sh", "-c", "python3 ${FILE}"),
        ("sh", "/app/script"),
        ("/app/script",),
    ],
)
def test_what_cant_be_followed_is_not_verified(argv):
    tools = {f"bin/{name}": program() for name in ("python3", "java", "node", "tini", "sh", "gosu")}
    verdict = judge({**tools, "app/script": b"#!/bin/sh\nx || y\n"}, *argv)
    assert verdict.passed
    assert ["not followed: " in finding.found for finding in verdict.findings] == [True]


USERS = {
    "etc/passwd": File(b"root:x:0:0::/:/bin/sh\napp:x:1000:1000::/:/bin/sh\n", 0o644),
    "etc/group": File(b"root:x:0:\nweb:x:33:app,other\n", 0o644),
}


@pytest.mark.parametrize(
    ("user", "mode", "owner", "may"),
    [
        ("", 0o700, (5, 5), True),
        ("root", 0o100, (5, 5), True),
        ("app", 0o700, (1000, 0), True),
        ("1000", 0o700, (1000, 0), True),
        ("app", 0o077, (1000, 0), False),
        ("app", 0o750, (0, 1000), True),
        ("app", 0o750, (0, 33), True),
        ("app:web", 0o750, (0, 33), True),
        ("app:web", 0o750, (0, 1000), False),
        ("1000:1000", 0o750, (0, 33), False),
        ("2000", 0o750, (1, 0), True),  # who has no row in passwd is of group 0
        ("2000:2000", 0o750, (1, 0), False),
        ("app", 0o744, (0, 0), False),
        ("app", 0o755, (0, 0), True),
    ],
)
def test_the_user_may_start_it(user, mode, owner, may):
    said = found({**USERS, "app": File(program(), mode, owner=owner)}, "/app", user=user)
    wrong = f"/app: may not execute it (mode {mode:o}, owner {owner[0]}:{owner[1]}); the user is {user}"
    assert said == ([] if may else [wrong])


def test_a_script_must_be_read_by_its_user():
    members = {**SH, **USERS, "x": File(b"#!/bin/sh\n:\n", 0o711)}
    assert found(members, "/x", user="app") == ["/x: may not read it (mode 711, owner 0:0); the user is app"]
    assert found(members, "/x", user="root") == []
    assert found(
        {**SH, **USERS, "bin/python3": program(), "x.py": File(b"1", 0o600)}, "python3", "x.py", user="app"
    )


def test_each_folder_on_the_way():
    folders = {"root": File(type=b"5", mode=0o700), "root/bin": File(type=b"5")}
    members = {**USERS, **folders, "root/bin/x": program()}
    assert found(members, "/root/bin/x", user="app") == [
        "/root/bin/x: may not enter /root (mode 700, owner 0:0); the user is app"
    ]
    assert found(members, "/root/bin/x") == []


def test_the_user_that_gosu_changes_to_counts():
    members = {**USERS, "bin/gosu": program(), "x": File(program(), 0o700, owner=(1000, 1000))}
    assert found(members, "gosu", "app", "/x") == []
    assert found(members, "gosu", "2000:2000", "/x")
    assert found(members, "gosu", "nobody", "/x") == ["nobody is not in /etc/passwd"]


def test_a_user_that_the_image_doesnt_know():
    members = {**USERS, "x": program()}
    assert found(members, "/x", user="nobody") == ["nobody is not in /etc/passwd"]
    assert found(members, "/x", user="app:staff") == ["the group staff is not in /etc/group"]
    assert found({"x": program()}, "/x", user="app") == ["app is not in /etc/passwd"]
    elsewhere = {
        "etc/passwd": link("/usr/lib/passwd"),
        "usr/lib/passwd": b"app:x:1:1::/:/bin/sh\n",
        "x": program(),
    }
    assert unknown(elsewhere, "/x", user="app") == [
        "who that is can't be told: /etc/passwd leads to /usr/lib/passwd"
    ]


def test_a_working_folder_that_is_a_file():
    assert found({"x": program(), "srv": b""}, "/x", folder="/srv") == ["/srv is neither ELF nor a script"]
    assert found({"x": program()}, "/x", folder="/made/by/the/engine") == []


def test_a_health_check_that_is_missing_is_a_warning():
    members = {**SH, "x": program()}
    for test in (("curl", "localhost"), ("/bin/sh", "-c", "curl localhost")):
        verdict = judge(members, "/x", healthcheck=test)
        assert verdict.passed
        (finding,) = verdict.of(Severity.WARNING)
        assert finding.where == "HEALTHCHECK"
        assert "curl" in finding.found
    assert judge(members, "/x", healthcheck=("/x",)).findings == ()


def test_what_only_a_running_container_has_is_not_verified():
    for path in ("/dev/init", "/proc/self/exe", "/.dockerenv"):
        assert [finding.severity for finding in judge(SH, path).findings] == [Severity.UNVERIFIED]


def test_an_image_that_starts_nothing():
    verdict = judge(SH)
    assert verdict.passed
    assert verdict.findings[0].severity is Severity.UNVERIFIED


def test_what_is_started_in_all():
    members = {**SH, "x": b"#!/usr/bin/env y\n", "bin/y": link("/opt/y"), "opt/y": program()}
    config = Config("linux", "amd64", argv=("/x",), env=(("PATH", "/bin"),))
    assert entrypoint.programs(a_tree(members), config) == {"/x", "/usr/bin/env", "/opt/y"}
