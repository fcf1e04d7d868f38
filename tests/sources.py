"""What the images under test are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pytest_multiarch.session import Session

#: A small image with a shell, a user, a service.
DOCKERFILE = """
FROM alpine:3.22
RUN mkdir -p /www && echo hello >/www/index.html
ENV PORT=8080
COPY --chmod=755 serve /serve
COPY --chmod=755 getent /usr/local/bin/
CMD ["/serve"]
"""

SERVE = """#!/bin/sh
echo "serving on $PORT"
exec httpd -f -p "$PORT" -h /www
"""

#: What testinfra asks for groups. Alpine has it; the busybox that stands in for Alpine hasn't.
GETENT = """#!/bin/sh
grep "^$2:" "/etc/$1" || exit 2
"""

#: An image of one program: no shell, no file system to speak of.
WITHOUT_SHELL = """
FROM alpine:3.22 AS base
FROM scratch
COPY --from=base /bin/busybox /busybox
ENTRYPOINT ["/busybox"]
CMD ["echo", "hello"]
"""

Opener = Callable[..., Session]


def ini_for(base_images: Mapping[str, str], **values: str) -> str:
    """Return the ini lines of a project."""
    lines = [f"{name} = {value}" for name, value in values.items()]
    listed = "".join(f"\n    {name}={value}" for name, value in base_images.items())
    return "\n".join([*lines, *([f"multiarch_build_contexts ={listed}"] if listed else [])]) + "\n"
