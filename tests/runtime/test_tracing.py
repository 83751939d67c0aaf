"""A tracer has a session's spans when it is closed; without one nothing of OpenTelemetry is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.egress.servers import Names, serving

import mulligan
from mulligan.policies.loading import parse_policy


def test_effects_are_spans_of_their_step(
    any_isolation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mulligan.sandbox.egress.dialing.resolve", Names(site_test=["127.0.0.1"]))
    seen, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(seen))
    with serving() as server:
        base = f"http://site.test:{server.port}"
        policy = parse_policy(f"network: [{{allow: 'GET {base}/**'}}, {{hold: 'POST {base}/**'}}]")
        with mulligan.open(
            policy=policy, isolation=any_isolation, state=tmp_path, tracer=provider.get_tracer("test")
        ) as session:
            session.run(f"""
import urllib.request
for body in (None, b"x"):
    urllib.request.urlopen("{base}/a?key=value", body)
try:
    urllib.request.urlopen(urllib.request.Request("{base}/a", method="DELETE"))
except OSError: pass
""")
            assert seen.get_finished_spans() == ()
    spans = {span.name: span for span in seen.get_finished_spans()}
    assert set(spans) == {"mulligan session", "step 1", "effect", "held", "denied"}
    step = spans["step 1"].context
    for name, status in (("effect", 200), ("held", None), ("denied", None)):
        span = spans[name]
        assert span.parent is not None and step is not None and span.parent.span_id == step.span_id
        assert span.attributes is not None and span.attributes.get("mulligan.status") == status
    assert "value" not in str([dict(span.attributes or {}) for span in spans.values()])


def test_nothing_of_opentelemetry_is_imported_without_a_tracer() -> None:
    code = "import sys, mulligan.runtime.session; print([name for name in sys.modules if 'opentelemetry' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
