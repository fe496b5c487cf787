"""Check that every input has its annotation and its overlay, and that they belong together."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tasks.mapping import MappingReport, verify_mapping


@task(name="verify-mapping", cache_policy=NO_CACHE, persist_result=False)
def verify(output_root: Path) -> MappingReport:
    """Compare annotations, overlays, inputs and recorded failures below an output root."""
    return verify_mapping(output_root)


@flow(name="verify-mapping", flow_run_name="verify {output_root.name}")
def verify_mapping_flow(output_root: Path) -> MappingReport:
    """Verify the outputs of earlier runs and publish what is wrong.

    Args:
        output_root: Folder below which the outputs were written.
    """
    report = verify(output_root)
    lines = report.lines() or ["Every input has its annotation and overlay, or a recorded failure."]
    create_markdown_artifact("\n".join(f"- `{line}`" for line in lines), key="verify-mapping")
    return report
