"""Rules for packages bound what pip can install, from inside a sandbox."""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest
from tests.egress.servers import Names, TestAuthority, serving

import mulligan


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


def _wheel(folder: Path, version: str) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("tiny.py", f"said = {version!r}\n")
        info = f"tiny-{version}.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"tiny.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    name = f"tiny-{version}-py3-none-any.whl"
    (folder / name).write_bytes(out.getvalue())
    anchor = f'<a href="{name}#sha256={hashlib.sha256(out.getvalue()).hexdigest()}">{name}</a>'
    with (folder / "index.html").open("a") as page:
        page.write(anchor)


def test_pip_installs_what_a_rule_names_and_no_other_version_or_project(
    any_isolation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = TestAuthority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.pem))
    monkeypatch.setattr("mulligan.sandbox.egress.dialing.resolve", Names(site_test=["127.0.0.1"]))
    for name in ("tiny", "other"):
        (tmp_path / "served/simple" / name).mkdir(parents=True)
    for version in ("1.0", "2.0"):
        _wheel(tmp_path / "served/simple/tiny", version)
    handler = partial(_Files, directory=str(tmp_path / "served"))
    with serving(authority.context("site.test"), handler) as index:  # type: ignore[arg-type]
        base = f"https://site.test:{index.port}/simple"
        (tmp_path / "rules.yaml").write_text(f"""
network: [allow: "GET site.test:{index.port}/**"]
packages:
  - allow: tiny<2 from site.test
    instead: install tiny<2
""")
        with mulligan.open(
            policy=tmp_path / "rules.yaml", isolation=any_isolation, state=tmp_path / "state"
        ) as session:
            assert session.ungranted == ()
            step = session.run(f"""
import json, subprocess, sys, urllib.error, urllib.request
done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", "lib",
                       "--index-url", "{base}/", "tiny<2"], capture_output=True, text=True)
print(done.stderr)
sys.path.insert(0, "lib")
import tiny; print(tiny.said)
for path in ("tiny/tiny-2.0-py3-none-any.whl", "other/"):
    try:
        urllib.request.urlopen("{base}/" + path)
    except urllib.error.HTTPError as error:
        print(error.code, json.loads(error.read())["rule"])
""")
    assert step.outcome.stdout.endswith("1.0\n403 packages\n403 packages\n"), step.outcome.text
    assert "the package tiny==2.0 from site.test: no rule allows it" in step.outcome.text
