"""The default image with packages of the tests' own environment: nothing is fetched, and no other test sees it."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.metadata import distribution

from mulligan.sandbox.docker import connect
from mulligan.sandbox.image import vetting

_DOCKERFILE = """
FROM {base}
COPY packages /packages
RUN cp -r /packages/. "$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
{lines}
"""


@contextmanager
def image_with(name: str, *packages: str, lines: str = "") -> Iterator[str]:
    """`packages` are plain Python; `lines` follow them in the Dockerfile."""
    with closing(connect()) as client:
        base = vetting.default(client)
        assert base is not None, "the default image is not built: make image"
        dockerfile = _DOCKERFILE.format(base=base, lines=lines)
        context = _context(packages, dockerfile.encode())
        client.images.build(fileobj=context, custom_context=True, tag=name, rm=True, network_mode="none")
        try:
            yield name
        finally:
            client.images.remove(name, force=True)


def _context(packages: tuple[str, ...], dockerfile: bytes) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(dockerfile)
        tar.addfile(entry, io.BytesIO(dockerfile))
        for package in packages:
            files = distribution(package).files
            assert files, package
            for path in files:
                if ".." not in path.parts and path.suffix != ".pyc":
                    tar.add(path.locate(), f"packages/{path}")
    stream.seek(0)
    return stream
