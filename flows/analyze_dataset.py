"""Summarise what the annotations of an output folder hold."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tasks.report.write import write_report
from tasks.review.index import refresh_index


@task(name="analyze-dataset", cache_policy=NO_CACHE, persist_result=False)
def analyze(output_root: Path) -> str:
    """Write the analysis below an output root and return its text."""
    # The review page then opens with everything known.
    refresh_index(output_root)
    return write_report(output_root).text


@flow(name="analyze-dataset", flow_run_name="analyze {output_root.name!r}")
def analyze_dataset(output_root: Path) -> str:
    """Analyse the outputs of earlier runs and publish the summary.

    Args:
        output_root: Folder below which the outputs were written.
    """
    text = analyze(output_root)
    # Indented: a markdown code block cannot be ended by what a file name holds.
    create_markdown_artifact("\n".join(f"    {line}" for line in text.splitlines()), key="analyze-dataset")
    return text
