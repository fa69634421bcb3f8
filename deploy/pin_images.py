"""Asks the registries what the Dockerfile's base images are now, and writes their digests down.

`make pin-image` runs it. What it writes, deploy/images.lock, is to be committed: without it nothing
is built, and with it the same image is built again.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

HERE = Path(__file__).parent
DOCKERFILE = HERE / "Dockerfile"
LOCK = HERE / "images.lock"

DOCKER_HUB = "https://registry-1.docker.io"
# Both ways to say "this image on each of its platforms", and a single platform's.
MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_FROM = re.compile(r"^FROM (?P<image>\S+)@\$\{(?P<argument>\w+)\}", re.MULTILINE)
_SECONDS = 30.0


class RegistryError(RuntimeError):
    """A registry doesn't answer as its protocol has it."""


@dataclass(frozen=True)
class Image:
    """A base image. registry: its URL. argument: the build argument that takes its digest."""

    argument: str
    registry: str
    repository: str
    tag: str

    @property
    def manifest(self) -> str:
        return f"{self.registry}/v2/{self.repository}/manifests/{self.tag}"


def images(dockerfile: str) -> list[Image]:
    """The images that a Dockerfile takes by digest.

    One that it names without a tag has the newest, whatever the pinned one is called.
    """
    return [_image(found["image"], found["argument"]) for found in _FROM.finditer(dockerfile)]


def _image(name: str, argument: str) -> Image:
    host, slash, rest = name.partition("/")
    is_host = bool(slash) and ("." in host or ":" in host)
    repository, _, tag = (rest if is_host else name).partition(":")
    registry = f"https://{host}" if is_host else DOCKER_HUB
    return Image(argument, registry, repository, tag or "latest")


def digest(image: Image) -> str:
    """``sha256:…`` of an image's manifest, computed from what the registry sends.

    Raises:
        RegistryError: there is no such image, or what was sent isn't what the registry calls it.
        requests.RequestException: the registry can't be reached.
    """
    with requests.Session() as session:
        session.headers["Accept"] = ", ".join(MANIFESTS)
        answer = session.get(image.manifest, timeout=_SECONDS)
        if answer.status_code == requests.codes.unauthorized:
            session.headers["Authorization"] = f"Bearer {_token(session, answer)}"
            answer = session.get(image.manifest, timeout=_SECONDS)
    if not answer.ok:
        raise RegistryError(f"{image.manifest}: {answer.status_code} {answer.reason}")
    found = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
    named = answer.headers.get("Docker-Content-Digest", found)
    if named != found:
        raise RegistryError(f"{image.manifest}: {found} came, and the registry calls it {named}")
    return found


def _token(session: requests.Session, refused: requests.Response) -> str:
    """What an anonymous reader is given where a registry's refusal says that it is to be had."""
    scheme, _, parameters = refused.headers.get("WWW-Authenticate", "").partition(" ")
    challenge = requests.utils.parse_dict_header(parameters)
    realm = challenge.pop("realm", None)
    if scheme.lower() != "bearer" or not realm:
        raise RegistryError(f"{refused.url}: refused, and it doesn't say where a token is had")
    answer = session.get(realm, params=challenge, timeout=_SECONDS)
    if not answer.ok:
        raise RegistryError(f"{answer.url}: {answer.status_code} {answer.reason}")
    given = answer.json()
    return given.get("token") or given["access_token"]


def lock(found: Sequence[Image]) -> str:
    """The lock file's text, which a shell reads as well."""
    lines = [f"{image.argument}={digest(image)}" for image in found]
    return "\n".join(["# Made by `make pin-image`.", *lines]) + "\n"


def main() -> int:
    try:
        LOCK.write_text(lock(images(DOCKERFILE.read_text())))
    except (RegistryError, requests.RequestException) as error:
        print(f"pin-image: {error}", file=sys.stderr)
        return 1
    print(LOCK.read_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
