"""The sandbox's image: found by its content, built where it is missing, refused where it cannot run a kernel."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import docker
import pytest

from mulligan.sandbox.docker import DockerEngine, connect
from mulligan.sandbox.errors import ImageMissing, ImageUnusable
from mulligan.sandbox.image import build, recipe, vetting
from mulligan.sandbox.isolation import GUEST, Isolation, Mount

pytestmark = pytest.mark.docker

Make = Callable[[str], str]


@pytest.fixture
def client() -> Iterator[docker.DockerClient]:
    with closing(connect()) as connected:
        yield connected


@pytest.fixture
def make(client: docker.DockerClient) -> Iterator[Make]:
    """Builds an image on the default one; it is removed at the end."""
    made: list[str] = []

    def on_the_default(lines: str) -> str:
        base = vetting.default(client)
        assert base is not None, "the default image is not built: make image"
        name = f"mulligan-test:{len(made)}"
        client.images.build(fileobj=io.BytesIO(f"FROM {base}\n{lines}".encode()), tag=name, rm=True)
        made.append(name)
        return name

    yield on_the_default
    for name in made:
        client.images.remove(name, force=True)


def described(image: str | None) -> Isolation:
    return Isolation(session="image", mounts=(), uid=1000, gid=1000, image=image)


def test_an_image_that_is_there_is_not_built_again(client: docker.DockerClient) -> None:
    said: list[str] = []
    tag = build.ensure(None, said.append)
    before = client.images.get(tag).id
    assert build.ensure(None, said.append) == tag
    assert said[-1] == f"{tag} is there"
    assert client.images.get(tag).id == before


def test_what_the_build_was_lent_is_not_in_the_image(client: docker.DockerClient) -> None:
    image = client.images.get(build.ensure(None, lambda line: None))
    declared = {entry.partition("=")[0] for entry in image.attrs["Config"]["Env"]}
    assert not {name for name in declared if name.startswith(("PIP_", "SSL_", "HTTP", "http"))}
    assert "/build" not in str(image.history())
    assert client.images.list(filters={"dangling": True, "label": "mulligan.stage=packages"}) == []


def test_every_change_of_what_goes_in_changes_the_tag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Dockerfile", "requirements.txt"):
        (tmp_path / name).write_bytes((recipe.HERE / name).read_bytes())
    before = recipe.tag("python:3.12-slim")
    monkeypatch.setattr(recipe, "HERE", tmp_path)
    assert recipe.tag("python:3.12-slim") == before
    assert recipe.tag("python:3.13-slim") != before
    (tmp_path / "requirements.txt").write_text("ipykernel\n")
    assert recipe.tag("python:3.12-slim") != before


@pytest.mark.parametrize(
    ("environment", "settings"),
    [
        ({}, None),
        (
            {"PIP_INDEX_URL": "http://mirror.example/simple"},
            "[global]\nindex-url = http://mirror.example/simple\n",
        ),
        ({"PIP_INDEX_URL": "x\n[install]\nbreak = 1"}, "[global]\nindex-url = x [install] break = 1\n"),
        ({"PIP_EXTRA_INDEX_URL": "file:///only/here"}, None),
        ({"SSL_CERT_FILE": "/nowhere/ca.pem"}, None),
    ],
)
def test_of_the_hosts_settings_the_build_gets_pips_and_no_others(
    environment: Mapping[str, str], settings: str | None
) -> None:
    files = build._private({**environment, "SECRET": "hunter2"})
    assert files == ({} if settings is None else {"pip.conf": settings.encode()})


def test_certificates_that_the_environment_names_go_into_the_context(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("CERTIFICATE")
    files = build._private({"SSL_CERT_FILE": str(bundle)})
    with tarfile.open(fileobj=recipe.context(files)) as tar:
        assert sorted(tar.getnames()) == ["Dockerfile", "ca.pem", "pip.conf", "requirements.txt"]
        assert tar.extractfile("pip.conf").read() == b"[global]\ncert = /build/ca.pem\n"  # type: ignore[union-attr]


def test_a_build_that_fails_says_at_which_line() -> None:
    said: list[str] = []
    with pytest.raises(ImageUnusable, match="the image was not built"):
        build.ensure("mulligan-no-such-base:1", said.append)


def test_an_image_that_is_not_there_is_named_with_the_command_that_brings_it() -> None:
    with pytest.raises(ImageMissing, match="docker pull mulligan-no-such-image:1"):
        DockerEngine().start(described("mulligan-no-such-image:1"))


def test_without_the_default_image_the_error_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Dockerfile", "requirements.txt"):
        (tmp_path / name).write_text("never built\n")
    monkeypatch.setattr(recipe, "HERE", tmp_path)
    with pytest.raises(ImageMissing, match="make image"):
        DockerEngine().start(described(None))


@pytest.mark.parametrize("name", ["", "  ", "UPPER CASE", "../../etc", "a" * 5000, "--help"])
def test_a_name_that_cannot_be_an_images_is_a_clear_error(name: str) -> None:
    with pytest.raises(ImageMissing):
        DockerEngine().start(described(name))


def test_an_image_without_python_is_refused(client: docker.DockerClient, tmp_path: Path) -> None:
    empty = io.BytesIO()
    with tarfile.open(fileobj=empty, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("nothing"))
    client.api.import_image_from_data(empty.getvalue(), repository="mulligan-test", tag="empty")
    try:
        with pytest.raises(ImageUnusable, match="has no Python"):
            DockerEngine(tmp_path).start(described("mulligan-test:empty"))
    finally:
        client.images.remove("mulligan-test:empty")


def test_an_image_without_ipykernel_is_refused_with_the_command_that_adds_it(
    make: Make, tmp_path: Path
) -> None:
    bare = make("ENV PATH=/usr/local/bin:/usr/bin:/bin\n")
    with pytest.raises(ImageUnusable, match="pip install ipykernel") as refused:
        DockerEngine(tmp_path).start(described(bare))
    assert "No module named 'ipykernel'" in refused.value.message


def test_an_image_is_asked_once_and_remembered_by_its_content(
    client: docker.DockerClient, make: Make, tmp_path: Path
) -> None:
    image = make("LABEL another=1\n")
    first = vetting.find(client, image, tmp_path)
    (remembered,) = tmp_path.iterdir()
    assert first.id.replace(":", "-") in remembered.name
    remembered.write_text('{"python": "/from/the/memory"}')
    assert vetting.find(client, image, tmp_path).python == "/from/the/memory"
    remembered.write_text('["rubbish"]')
    assert vetting.find(client, image, tmp_path).python == first.python


def test_a_folder_that_an_image_declares_as_a_volume_cannot_be_written(
    client: docker.DockerClient, make: Make, tmp_path: Path
) -> None:
    image = make('VOLUME /data\nENTRYPOINT ["/bin/false"]\nUSER root\n')
    guest = tmp_path / "guest"
    guest.mkdir()
    (guest / "start.py").write_text(
        "import os; print(os.getuid(), os.statvfs('/data').f_flag & os.ST_RDONLY)"
    )
    isolation = Isolation(
        session="volume", mounts=(Mount(source=guest, target=GUEST),), uid=1000, gid=1000, image=image
    )
    before = {volume.id for volume in client.volumes.list()}
    sandbox = DockerEngine().start(isolation)
    try:
        (container,) = client.containers.list(all=True, filters={"label": "mulligan.session=volume"})
        container.wait()
        assert "1000 1" in sandbox.diagnosis()
    finally:
        sandbox.stop()
    assert {volume.id for volume in client.volumes.list()} == before
