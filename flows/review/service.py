"""What the review page asks for, without the web: the index in memory, and the files of one output root."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasks.annotations.format import Annotation, AnnotationError
from tasks.clips.discovery import Clip
from tasks.clips.labels import class_names
from tasks.core.errors import FightposeError
from tasks.core.storage import require_output_root
from tasks.core.text import printable
from tasks.language import translated
from tasks.mapping.receipts import recorded_settings
from tasks.review.apply import apply_review, automatic_annotation, other_people
from tasks.review.clip_view import clip_view, empty_view
from tasks.review.corrections import apply_changes
from tasks.review.gallery import NO_VERDICT, Verdict, card, find_clips, is_waiting, verdict_of
from tasks.review.index import open_index, read_rows, unread
from tasks.review.log import (
    LOG_NAME,
    Change,
    Entry,
    SetLabel,
    Undo,
    append_change,
    read_review,
    standing_changes,
    standing_undos,
)
from tasks.review.media import playable, thumbnail
from tasks.review.overlays import outdated_overlays, redraw_overlay

REFRESH_SECONDS = 30.0
"""How often it is looked for annotations that a run writes while the page is open."""


class NoSuchClipError(FightposeError):
    """A request names a clip that is not there, or has not what is asked for."""


class ReviewService:
    """One output root under review; its methods may be called from several threads.

    Parameters
    ----------
    output_root
        The output root.
    who
        Name that corrections are signed with.

    Raises
    ------
    FightposeError
        If the folder holds no outputs.
    """

    def __init__(self, output_root: Path, who: str) -> None:
        require_output_root(output_root)
        # Resolved once: a file is sent only if its own resolved path lies below it (`_overlay`).
        self.output_root = output_root.resolve()
        self._who = who
        self._rows, self._clips = open_index(self.output_root)
        if not self._clips:
            raise FightposeError(f"nothing to review in {output_root}: no run has listed its clips there")
        self._opened = time.monotonic()
        self._log = _Log(self.output_root)
        # One thumbnail and one preview at a time: the machine may be annotating as well.
        self._making_thumbnail, self._making_preview = threading.Lock(), threading.Lock()
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._drawing: list[Clip] = []
        self._draw_errors: list[str] = []
        self._draw_now = threading.Event()
        self._painter = threading.Thread(target=self._draw, name="review-overlays", daemon=True)
        self._reader = threading.Thread(target=self._read, name="review-index", daemon=True)

    def start(self) -> None:
        """Start reading in the background what the index lacks."""
        self._wake.set()
        self._reader.start()
        self._painter.start()

    def stop(self) -> None:
        """End the background work; what was read is kept."""
        # The flag first, then both events: a thread that they wake has to find the flag set.
        self._stopped.set()
        self._wake.set()
        self._draw_now.set()
        for thread in (self._reader, self._painter):
            if thread.is_alive():
                thread.join()

    def find(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return one page of the gallery (see `tasks.review.gallery.find_clips`)."""
        if time.monotonic() - self._opened > REFRESH_SECONDS:
            self._wake.set()
        # Taken once: the background thread may exchange the rows meanwhile.
        rows, verdicts = self._rows, self._log.verdicts()
        found = find_clips(rows.values(), verdicts, query)
        for shown in found["clips"]:
            shown["video"] = _version(self._clips[shown["id"]].overlay_path)
            shown["info"] = translated(shown.get("info") or "")
        return found | {
            "root": printable(self.output_root.name),
            "who": self._who,
            "classes": self._classes(),
            "clip_count": len(rows),
            "unread": len(unread(rows)),
            "drawing": len(self._drawing),
            "draw_errors": list(self._draw_errors),
        }

    def view(self, key: str) -> dict[str, Any]:
        """Return one clip as the page shows it."""
        clip, row = self._clip(key), self._rows[key]
        entries, undos = self._log.of(clip.frame_dir)
        verdict = verdict_of(entries) if entries else NO_VERDICT
        shown = card((row, verdict)) | {"video": _version(clip.overlay_path)}
        try:
            automatic = automatic_annotation(clip, self.output_root)
            shown |= clip_view(automatic, entries, undos, other_people(clip, self.output_root, automatic))
        except (AnnotationError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            # A clip that failed, or someone else's file: it can still be judged as a whole.
            shown |= empty_view(clip.label, entries, undos)
            shown["info"] = shown["info"] or printable(str(error))
        shown["waiting"] = is_waiting((row, verdict))
        shown["classes"] = self._classes()
        return _in_their_language(shown)

    def correct(self, key: str, changes: Sequence[Change]) -> dict[str, Any]:
        """Write corrections to the log and return the clip as it is with them.

        Raises
        ------
        FightposeError
            If a correction does not fit the people there are, or cannot be written; nothing is written then.
        """
        clip = self._clip(key)
        with self._writing:
            # Under the lock of writing: of two tabs the second is checked against what the first one wrote.
            self._require_fit(clip, changes)
            for change in changes:
                self._append(clip, change)
        return self.view(key)

    def undo(self, key: str, entry: str | None) -> dict[str, Any]:
        """Take back a correction, the last one by default, and return the clip as it is without it."""
        clip = self._clip(key)
        with self._writing:
            entries, _ = self._log.of(clip.frame_dir)
            if not entries:
                raise FightposeError("there is nothing to take back in this clip")
            self._append(clip, Undo(entry=entry or entries[-1].id))
        return self.view(key)

    def redo(self, key: str) -> dict[str, Any]:
        """Take back the last undo and return the clip as it is then."""
        clip = self._clip(key)
        with self._writing:
            _, undos = self._log.of(clip.frame_dir)
            if not undos:
                raise FightposeError("nothing was taken back in this clip")
            self._append(clip, Undo(entry=undos[-1].id))
        return self.view(key)

    def apply(self) -> dict[str, Any]:
        """Put all corrections into effect and return what came of it; overlays are drawn again in the background."""
        with self._writing:
            report = apply_review(self.output_root)
            self._rows, self._clips = open_index(self.output_root)
            # The gallery is asked for next: what was just written is read at once, the rest in the background.
            written = {*report.corrected, *report.restored}
            wanted = [key for key, clip in self._clips.items() if clip.frame_dir in written]
            read_rows(self.output_root, self._rows, self._clips, wanted)
        self._wake.set()
        # After the annotations are written: an overlay is outdated by comparison with them.
        self._drawing = outdated_overlays(self.output_root)
        self._draw_now.set()
        problems = [f"{clip}: {translated(problem)}" for clip, problem in report.problems]
        lines = [printable(line) for line in [*problems, *map(translated, report.lines())]]
        return {"lines": lines, "problems": len(report.problems), "drawing": len(self._drawing)}

    def thumbnail(self, key: str) -> Path:
        """Return the thumbnail of a clip."""
        overlay = self._overlay(key)
        with self._making_thumbnail:
            return thumbnail(overlay, int(self._rows[key].get("poster", 0)), key, self.output_root)

    def video(self, key: str) -> Path:
        """Return a video of a clip's overlay that browsers play."""
        overlay = self._overlay(key)
        # Browsers play mp4 and mov as they are; a copy of an avi is made when it is first asked for.
        if overlay.suffix.lower() != ".avi":
            return overlay
        with self._making_preview:
            return playable(overlay, key, self.output_root)

    def _classes(self) -> dict[int, str]:
        """Return the classes by number, those that a run or a person gave without naming them included."""
        named = class_names(recorded_settings(self.output_root).dataset)
        given = {int(row["label"]) for row in self._rows.values() if row.get("label") is not None}
        return {**named, **{label: f"class {label}" for label in sorted(given - named.keys())}}

    def _clip(self, key: str) -> Clip:
        """Return a clip by its name in addresses."""
        clip = self._clips.get(key)
        if clip is None or key not in self._rows:
            raise NoSuchClipError("there is no such clip; reload the page")
        return clip

    def _overlay(self, key: str) -> Path:
        """Return the overlay of a clip, if it really lies in the output root: a link in it may lead elsewhere."""
        path = self._clip(key).overlay_path.resolve()
        if not path.is_relative_to(self.output_root) or not path.is_file():
            raise NoSuchClipError("this clip has no overlay video")
        return path

    def _require_fit(self, clip: Clip, changes: Sequence[Change]) -> None:
        """Refuse corrections that name people or classes that are not there: the log keeps what it has for ever."""
        classes = self._classes()
        for change in changes:
            if isinstance(change, SetLabel) and change.label not in classes:
                raise FightposeError(
                    f"there is no class {change.label}; the classes are {', '.join(map(str, classes))}"
                )
        try:
            automatic: Annotation = automatic_annotation(clip, self.output_root)
        except AnnotationError:
            # Nothing to check against: the clip failed, and can still be judged as a whole.
            return
        standing = [entry.change for entry in self._log.of(clip.frame_dir)[0]]
        others = other_people(clip, self.output_root, automatic)
        # Misfits of earlier corrections are no reason to refuse this one.
        known = apply_changes(automatic, standing, others).misfits
        misfits = apply_changes(automatic, [*standing, *changes], others).misfits
        if len(misfits) > len(known):
            raise FightposeError(misfits[-1])

    def _append(self, clip: Clip, change: Change) -> None:
        """Write one line to the log."""
        try:
            append_change(self.output_root, clip.frame_dir, self._who, change)
        except ValidationError as error:
            raise FightposeError(
                f"the name {printable(clip.frame_dir)} is not UTF-8; rename the clip and annotate it again"
            ) from error

    def _draw(self) -> None:
        """Draw the overlays that were found outdated, whenever told so; runs in the background."""
        while True:
            self._draw_now.wait()
            self._draw_now.clear()
            self._draw_errors = []
            # The list is exchanged as a whole by `apply`: what it found is drawn next.
            while (clips := self._drawing) and not self._stopped.is_set():
                try:
                    redraw_overlay(clips[0], self.output_root)
                except FightposeError as error:
                    self._draw_errors.append(printable(f"{clips[0].frame_dir}: {translated(str(error))}"))
                # Unless `apply` has put a new list there meanwhile, which has to stay whole.
                if self._drawing is clips:
                    self._drawing = clips[1:]
            if self._stopped.is_set():
                return

    def _read(self) -> None:
        """Read rows that are missing, whenever woken; runs in the background."""
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._stopped.is_set():
                return
            # A run may have listed or annotated clips since; to find out costs one `stat` per clip.
            if time.monotonic() - self._opened > REFRESH_SECONDS:
                self._rows, self._clips = open_index(self.output_root)
                self._opened = time.monotonic()
            read_rows(self.output_root, self._rows, self._clips, stopped=self._stopped.is_set)


def _in_their_language(shown: dict[str, Any]) -> dict[str, Any]:
    """Return a clip as the page shows it with its texts in the language of the page; names and notes stay."""
    shown["info"] = translated(shown["info"] or "")
    shown["misfits"] = [translated(text) for text in shown["misfits"]]
    shown["history"] = [entry | {"text": translated(entry["text"])} for entry in shown["history"]]
    return shown


def _version(overlay: Path) -> str:
    """Return what tells an overlay from one drawn later, so that no browser shows the old one; "" without a video."""
    try:
        return f"{overlay.stat().st_mtime_ns:x}"
    except OSError:
        return ""


class _Log:
    """The log of an output root, parsed again only when the file has changed."""

    def __init__(self, output_root: Path) -> None:
        self._root = output_root
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._entries: dict[str, list[Entry]] = {}
        self._undos: dict[str, list[Entry]] = {}
        self._verdicts: dict[str, Verdict] = {}

    def of(self, frame_dir: str) -> tuple[list[Entry], list[Entry]]:
        """Return the corrections and the undos of a clip that count."""
        with self._lock:
            self._refresh()
            return self._entries.get(frame_dir, []), self._undos.get(frame_dir, [])

    def verdicts(self) -> dict[str, Verdict]:
        """Return what was said about every clip."""
        with self._lock:
            self._refresh()
            return self._verdicts

    def _refresh(self) -> None:
        """Read the log if it is not what it was."""
        try:
            # Other programs append to the log as well: an import from CVAT, or a second page.
            status = (self._root / LOG_NAME).stat()
            stamp = (status.st_size, status.st_mtime_ns)
        except OSError:
            # Nobody has corrected anything yet.
            stamp = (0, 0)
        if stamp != self._stamp:
            lines = read_review(self._root)
            self._entries, self._undos = standing_changes(lines), standing_undos(lines)
            self._verdicts = {clip: verdict_of(entries) for clip, entries in self._entries.items()}
            self._stamp = stamp
