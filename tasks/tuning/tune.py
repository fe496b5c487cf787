"""Tuning an output root: reviewed clips in, settings and what they are worth out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.core.errors import FightposeError
from tasks.core.settings import Settings
from tasks.core.storage import write_json
from tasks.review.stats import LEAST_CLIPS, Calibration, calibrate, read_stats
from tasks.tuning.choose import FIGURES, Choice, Measured, axes, choose_left_out, figures_of, value_of
from tasks.tuning.measure import measure_all, with_point
from tasks.tuning.reviewed import Reviewed, read_reviewed

SETTINGS_NAME = "tuned_settings.json"
"""Where the settings go unless another file is named, below the output root."""


HEADINGS = f"  {'':14} in use   tuned   difference"
"""Of the columns of figures, in their widths."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What tuning an output root came to.

    Attributes
    ----------
    reviewed
        The clips that were learned from.
    choice
        Settings of tracking and selection.
    ranking
        Refitted weights of the ranking; None where too few clips have both a fighter and a bystander.
    """

    reviewed: Reviewed
    choice: Choice
    ranking: Calibration | None

    @property
    def weights_pay(self) -> bool:
        """Whether the refitted weights order clips better that had no part in the fit."""
        if self.ranking is None:
            return False
        after, before = self.ranking.held_out, self.ranking.before
        # Better in the order as a whole, and no worse in the two people that reach the network.
        return after["ap"] > before["ap"] and after["p_at_2"] >= before["p_at_2"]

    def settings(self) -> dict[str, Any]:
        """Return what a settings file should hold; empty where the settings in use are to be kept."""
        found: dict[str, Any] = {}
        if self.choice.pays:
            changed = with_point(self.reviewed.settings, self.choice.point)
            # Only what differs, so that everything else still follows the defaults.
            for group, name, _ in self.choice.point:
                value = getattr(getattr(changed, group), name)
                found.setdefault(group, {})[name] = round(value, 4) if isinstance(value, float) else value
        if self.weights_pay and self.ranking is not None:
            found["scoring"] = {"weights": self.ranking.weights}
        return found

    def lines(self) -> list[str]:
        """Return what was found as lines of text."""
        cases, choice = self.reviewed.cases, self.choice
        sources = len({case.label.source for case in cases})
        lines = [f"Learned from {len(cases)} reviewed clips of {self.reviewed.clips}, from {_sources(sources)}"]
        if sources == 1:
            lines.append("One camera only: judged clip by clip, which says nothing about other cameras")
        same = f"{choice.agreeing} of {choice.folds} choices without one camera are the final one"
        if choice.stable_from is None:
            lines.append(
                f"Not stable yet: choices from part of these clips are worse ({same}); review about twice as many "
                "clips, those that the page's order 'Teaches most first' offers"
            )
        else:
            lines.append(f"Stable from {choice.stable_from} clips on: choices from so many are as good ({same})")
        # With one camera every clip counts as a camera of its own (`Reviewed.groups`).
        if sources == 1:
            lines.append("Figures of each clip under settings chosen without it, 90 % interval of the difference:")
        else:
            lines.append("Figures of each camera under settings chosen without it, 90 % interval of the difference:")
        lines.append(HEADINGS)
        for number, name in enumerate(FIGURES):
            before, after = choice.before[number], choice.after[number]
            low, high = choice.low[number], choice.high[number]
            lines.append(f"  {name:14} {before:.3f}    {after:.3f}   {after - before:+.3f} ({low:+.3f}, {high:+.3f})")
        lines += [*self._per_source(), *self._advice()]
        return lines + [f"{clip}: {problem}" for clip, problem in self.reviewed.problems]

    def _per_source(self) -> list[str]:
        """Return the figures of each camera, where there are several."""
        rows = self.by_source()
        # The figures of a single camera are those over all clips.
        if len(rows) < 2:
            return []
        lines = ["Per camera: clips, then p_at_2, identity_kept and covered, in use -> tuned"]
        for source, clips, before, after in rows:
            steps = "   ".join(f"{b:.2f} -> {a:.2f}" for b, a in zip(before, after, strict=True))
            lines.append(f"  {source or '.':24} {clips:3d}   {steps}")
        return lines

    def by_source(self) -> list[tuple[str, int, list[float], list[float]]]:
        """Return each camera with its number of clips and its figures in use and tuned."""
        sources = np.array([case.label.source for case in self.reviewed.cases])
        rows = []
        for source in np.unique(sources):
            clips = sources == source
            before = figures_of(self.choice.counts_before[clips]).tolist()
            after = figures_of(self.choice.counts_after[clips]).tolist()
            rows.append((str(source), int(clips.sum()), before, after))
        return rows

    def by_clip(self) -> list[tuple[str, float, list[float], list[float]]]:
        """Return each clip with the gain of its value and its figures in use and tuned, the greatest change first."""
        rows = []
        for number, case in enumerate(self.reviewed.cases):
            # A slice, since figures are over clips: this is an array of one.
            one = slice(number, number + 1)
            before, after = (figures_of(c[one]) for c in (self.choice.counts_before, self.choice.counts_after))
            rows.append((case.label.clip, float(value_of(after - before)), before.tolist(), after.tolist()))
        return sorted(rows, key=lambda row: -abs(row[1]))

    def _advice(self) -> list[str]:
        """Return what to do about tracking, selection and ranking."""
        middle, low, high = self.choice.gain
        gain = f"gain {middle:+.3f}, {low:+.3f} to {high:+.3f}"
        if not self.choice.point:
            lines = ["Keep the defaults: no change of tracking or selection gains on most cameras"]
        elif not self.choice.pays:
            lines = [f"Keep the defaults: the gain of other settings is within the interval ({gain}); best were:"]
            lines += [f"  {words}" for words in self.changes()]
        else:
            lines = [f"Other settings of tracking and selection pay ({gain}):"]
            lines += [f"  {words}" for words in self.changes()]
        # Ranking is judged apart: it needs bystanders, which tracking does not.
        if self.ranking is None:
            return [*lines, f"Ranking: fewer than {LEAST_CLIPS} clips have a fighter and a bystander marked"]
        before, after = self.ranking.before, self.ranking.held_out
        figures = ", ".join(f"{name} {before[name]:.3f} -> {after[name]:.3f}" for name in ("p_at_2", "ap"))
        if self.weights_pay:
            return [*lines, f"Ranking: refitted weights pay (left-out clips: {figures})"]
        return [*lines, f"Ranking: keep the weights that you have (left-out clips: {figures})"]

    def value(self) -> dict[str, Any]:
        """Return the same as plain values, for JSON."""
        choice = self.choice
        return {
            "clips": len(self.reviewed.cases),
            "cameras": len({case.label.source for case in self.reviewed.cases}),
            "figures": {
                name: {
                    # Plain floats: JSON knows nothing of numpy.
                    "in_use": float(choice.before[number]),
                    "tuned": float(choice.after[number]),
                    "interval": [float(choice.low[number]), float(choice.high[number])],
                }
                for number, name in enumerate(FIGURES)
            },
            "gain": choice.gain.tolist(),
            # None: not stable yet.
            "stable_from": choice.stable_from,
            "settings": self.settings(),
            "problems": [{"clip": clip, "problem": problem} for clip, problem in self.reviewed.problems],
        }

    def changes(self) -> list[str]:
        """Return the chosen change in words, one line per setting."""
        before, after = self.reviewed.settings, with_point(self.reviewed.settings, self.choice.point)
        return [
            f"{group}.{name}: {getattr(getattr(before, group), name):g} -> {getattr(getattr(after, group), name):g}"
            for group, name, _ in self.choice.point
        ]


def write_settings(path: Path, settings: dict[str, Any]) -> None:
    """Write tuned settings as a file for `annotate --settings`.

    Raises
    ------
    FightposeError
        If the file cannot be written.
    """
    try:
        write_json(path, settings)
    except OSError as error:
        raise FightposeError(f"cannot write {path}: {error.strerror or error}; choose another --write") from error


def _sources(count: int) -> str:
    """Return a number of cameras in words."""
    return "one camera" if count == 1 else f"{count} cameras"


def tune(output_root: Path, workers: int = 1, on_clip: Callable[[int, int], None] = lambda done, total: None) -> Tuning:
    """Choose settings from the reviewed clips of an output root.

    Parameters
    ----------
    output_root
        The output root.
    workers
        Processes that share the clips.
    on_clip
        Called after each clip with the number of clips that are done, and of all; twice around.

    Raises
    ------
    FightposeError
        If nothing in the folder teaches anything, or the reviewed clips cannot be compared.
    """
    reviewed = read_reviewed(output_root)
    choice = tune_cases(reviewed.settings, reviewed, workers, on_clip)
    try:
        # From the weights that are in use here, which need not be the defaults.
        ranking = calibrate(read_stats(output_root).reviewed, reviewed.settings.scoring.weights)
    except FightposeError:
        # Too few clips for a refit: tracking can be tuned all the same.
        ranking = None
    return Tuning(reviewed, choice, ranking)


def tune_cases(
    settings: Settings,
    reviewed: Reviewed,
    workers: int = 1,
    on_clip: Callable[[int, int], None] = lambda done, total: None,
) -> Choice:
    """Choose settings of tracking and selection from clips whose people are known."""
    cases = reviewed.cases
    # Points are measured as the choice asks for them, over all clips at a time.
    measured = Measured(lambda points: measure_all(cases, settings, points, workers, on_clip))
    return choose_left_out(measured, axes(settings), reviewed.groups)
