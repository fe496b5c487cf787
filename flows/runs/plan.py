"""What a run has to do, known before it starts: which clips there are, which are finished, how long the rest may take.

Nothing here writes or knows Prefect: the command line shows the plan before it starts a server, and the flow works
through the same plan.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from flows.runs.results import ClipResult, Outcome
from tasks.clips.choosing import across_folders, chosen_clips
from tasks.clips.discovery import Clip, discover_clips
from tasks.clips.given_splits import check_given
from tasks.clips.labels import check_sources, label_clips, unnamed_warning
from tasks.core.choices import Mode
from tasks.core.settings import Settings
from tasks.core.text import counted
from tasks.mapping.receipts import finished, settings_key
from tasks.mapping.summary import ClipSummary
from tasks.poses.models import entry_of, model_key


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run has to do.

    Attributes
    ----------
    root
        The input root.
    clips
        The clips of the run, labelled, by relative path.
    key
        Of model and settings: under it a clip's outputs are up to date.
    finished
        Clips whose outputs are complete and up to date, with what was found in them.
    waiting
        The clips that are to be annotated.
    problems
        What of the input could not be read, as lines.
    warnings
        What the rules for labels and groups leave open, as lines.
    """

    root: Path
    clips: list[Clip]
    key: str
    finished: list[tuple[Clip, ClipSummary]]
    waiting: list[Clip]
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def results(self) -> list[ClipResult]:
        """Return the results of the clips that need no work."""
        return [ClipResult(clip.relative, Outcome.UNCHANGED, 0.0, summary=found) for clip, found in self.finished]

    def without(self, paths: Collection[Path]) -> Plan:
        """Return the plan without the clips at these paths."""
        return replace(
            self,
            clips=[clip for clip in self.clips if clip.path not in paths],
            finished=[(clip, found) for clip, found in self.finished if clip.path not in paths],
            waiting=[clip for clip in self.waiting if clip.path not in paths],
        )

    def seconds(self, workers: int = 1) -> float | None:
        """Return how long the waiting clips may take, from the clips that were annotated before; None without any.

        Parameters
        ----------
        workers
            How many clips run at once.
        """
        # Clips whose poses were found in the store took no model time: they would promise too much.
        known = [sum(found.seconds.values()) for _, found in self.finished if found.extracted]
        if not known:
            return None
        # Mean seconds of a clip * clips left / clips at once; more workers than clips gain nothing.
        return statistics.fmean(known) * len(self.waiting) / max(min(workers, len(self.waiting)), 1)


def plan_run(
    input: Path, output_root: Path, settings: Settings, mode: Mode = Mode.SINGLE, demo_count: int = 10
) -> Plan:
    """Find out what a run over a folder has to do.

    Parameters
    ----------
    input, output_root
        Folder of clips or one clip, and where outputs go.
    settings
        Settings of the run.
    mode, demo_count
        In mode demo only so many clips are taken, one folder after the other.

    Raises
    ------
    FightposeError
        If the input holds no clip, a file that the settings name cannot be read, or the model is unknown.
    """
    entry = entry_of(settings.poses)
    # The same key as the workers': thresholds left open are filled from the model first.
    key = settings_key(settings.resolve(entry.thresholds), model_key(settings.poses))
    found = discover_clips(input, output_root)
    # Tables and patterns that cannot be read or match nothing are reported now, too.
    warnings = [*found.warnings(), *check_sources(found.clips, settings.dataset)]
    warnings += check_given([clip.frame_dir for clip in found.clips], settings.dataset)
    chosen = chosen_clips(found.clips, settings.dataset)
    # Demo clips are chosen before they are labelled, so that `unnamed` is about these alone.
    labelled, unnamed = label_clips(
        across_folders(chosen, demo_count) if mode == Mode.DEMO else chosen, settings.dataset
    )
    done = [(clip, summary) for clip in labelled if (summary := finished(clip, output_root, key))]
    # A set: a list would be searched once more for every clip of the folder.
    names = {clip.relative for clip, _ in done}
    waiting = [clip for clip in labelled if clip.relative not in names]
    problems = [f"{problem.path}: {problem.info}" for problem in found.problems]
    return Plan(found.root, labelled, key, done, waiting, problems, [*warnings, *unnamed_warning(unnamed)])


def work_words(total: int, waiting: int, seconds: float | None) -> str:
    """Return in one line what a run has to do.

    >>> work_words(300, 20, 700.0)
    '300 clips: 280 finished, 20 to do, about 12 min'
    >>> work_words(1, 0, None)
    '1 clip: finished, nothing to do'
    """
    clips = counted(total, "clip")
    if not waiting:
        return f"{clips}: finished, nothing to do"
    done = total - waiting
    # Whole sentences, which can be translated. Nothing in place of a guess where no clip was annotated before.
    if seconds is None:
        return f"{clips}: {done} finished, {waiting} to do" if done else f"{clips}: {waiting} to do"
    about = duration(seconds)
    if done:
        return f"{clips}: {done} finished, {waiting} to do, about {about}"
    return f"{clips}: {waiting} to do, about {about}"


def duration(seconds: float) -> str:
    """Return a time span as people say it, to the precision that an estimate has.

    >>> [duration(seconds) for seconds in (8, 95, 3700, 200_000)]
    ['8 s', '2 min', '1 h 2 min', '2 d 7 h']
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    # Rounded before it is split, so that 3599 s are 1 h 0 min and not 60 min.
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"
