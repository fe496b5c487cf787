"""What the check of an output root can find wrong, and its report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from tasks.core.text import counted, field_text


class FindingKind(StrEnum):
    """What can be wrong with the outputs of a clip."""

    UNACCOUNTED = "input without outputs and without recorded failure"
    MISSING_ANNOTATION = "annotation missing"
    MISSING_OVERLAY = "overlay missing"
    ORPHAN = "output without input"
    DUPLICATE = "duplicate output"
    STALE = "output out of date"
    UNREADABLE_ANNOTATION = "annotation unreadable"
    UNREADABLE_OVERLAY = "overlay unreadable"
    WRONG_CLIP = "annotation of another clip"
    FRAME_COUNT = "frame counts differ"
    FRAME_RATE = "frame rates differ"
    INVALID = "annotation breaks the contract"
    CHANGED = "output changed since it was written"
    NO_RECEIPT = "record of the outputs missing"
    INPUT_LIST = "list of inputs is damaged"
    FAILURE_LOG = "recorded failure contradicts the outputs"
    DATASET = "merged data set is wrong"


CORRUPT = frozenset(
    {
        FindingKind.UNREADABLE_ANNOTATION,
        FindingKind.UNREADABLE_OVERLAY,
        FindingKind.WRONG_CLIP,
        FindingKind.FRAME_COUNT,
        FindingKind.FRAME_RATE,
        FindingKind.INVALID,
        FindingKind.CHANGED,
    }
)
"""Findings that say that a file is not what it should be."""

REPAIRABLE = CORRUPT | {
    FindingKind.UNACCOUNTED,
    FindingKind.MISSING_ANNOTATION,
    FindingKind.MISSING_OVERLAY,
    FindingKind.STALE,
    FindingKind.NO_RECEIPT,
    FindingKind.FAILURE_LOG,
}
"""Findings that another run over the clip mends."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes
    ----------
    kind
        What.
    clip
        The clip's identifier.
    info
        The details, possibly empty.
    files
        The outputs concerned.
    """

    kind: FindingKind
    clip: str
    info: str = ""
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class MappingReport:
    """What the check of an output root found.

    Attributes
    ----------
    output_root
        What was checked.
    inputs
        Number of inputs listed; 0 where no run left a list, so that outputs could only be compared with each other.
    matched
        Number of clips with a readable annotation and a matching overlay (or an annotation that wants none).
    undrawn
        How many of them have no overlay, because the run that wrote the annotation was to draw none.
    failed
        Identifiers of the clips that the failure log accounts for.
    findings
        Everything that is wrong, by clip.
    unmended
        Identifiers of clips that were annotated again because of a finding, and failed or gave the same finding.
    """

    output_root: Path
    inputs: int
    matched: int
    undrawn: int
    failed: list[str]
    findings: list[Finding]
    unmended: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; recorded failures are accounted for, except those of a mend."""
        return not self.findings and not self.unmended

    def of(self, kind: FindingKind) -> list[str]:
        """Return the identifiers of the clips with a finding of one kind."""
        return [finding.clip for finding in self.findings if finding.kind == kind]

    def headline(self) -> str:
        """Return the outcome in one line."""
        # Without a list of inputs their number is unknown, which is not the same as 0 inputs.
        inputs = counted(self.inputs, "input") if self.inputs else "no list of inputs"
        failures, findings = counted(len(self.failed), "recorded failure"), counted(len(self.findings), "finding")
        if self.undrawn == 0:
            return f"{inputs}: {self.matched} with annotation and overlay, {failures}, {findings}"
        # Overlays were switched off: to count what nobody asked for as there would be untrue.
        return (
            f"{inputs}: {self.matched} with annotation, {self.undrawn} of them without overlay as was set, "
            f"{failures}, {findings}"
        )

    def lines(self) -> list[str]:
        """Return one printable line for each finding."""
        return [
            f"{finding.kind}: {field_text(finding.clip)} ({field_text(finding.info)})"
            if finding.info
            else f"{finding.kind}: {field_text(finding.clip)}"
            for finding in self.findings
        ]

    def rows(self) -> list[dict[str, str]]:
        """Return the findings as rows of a table."""
        return [
            {"clip": field_text(finding.clip), "finding": str(finding.kind), "details": field_text(finding.info)}
            for finding in self.findings
        ]

    def to_value(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON."""
        # Kinds and paths become strings, as JSON knows neither.
        return {
            "output_root": str(self.output_root),
            "ok": self.ok,
            "inputs": self.inputs,
            "matched": self.matched,
            "undrawn": self.undrawn,
            "failed": self.failed,
            "unmended": self.unmended,
            "counts": dict(Counter(finding.kind.name.lower() for finding in self.findings)),
            # Kinds become lower-case names, and paths strings, as JSON knows neither enums nor paths.
            "findings": [
                {
                    "kind": finding.kind.name.lower(),
                    "clip": finding.clip,
                    "info": finding.info,
                    "files": [str(path) for path in finding.files],
                }
                for finding in self.findings
            ],
        }
