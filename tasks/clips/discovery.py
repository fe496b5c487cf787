"""Which clips there are, and where the outputs of each belong.

The tree of the input is mirrored: a clip at `<root>/<folder>/<stem>.<ext>` has its outputs at
`<output root>/<name of root>/<folder>/<stem>_enhanced_stgcn_annotation.pkl` and `..._enhanced_rtmo_overlay.<ext>`.
The stems: `tasks.clips.output_names`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tasks.clips.output_names import ANNOTATION_POSTFIX, OVERLAY_POSTFIX, is_own_output, output_stems
from tasks.clips.video_files import OVERLAY_ENDINGS, VIDEO_ENDINGS, is_video_name, may_be_video
from tasks.core.errors import FightposeError
from tasks.core.text import name_key, require_utf8_names

FIGHT_FOLDER = "Fight"
"""A clip below a folder of this name, in whatever case, shows a fight: label 1, every other label 0."""

MOST_LOOKS = 2_000
"""At most so many files without the ending of a video are opened to see whether they are videos."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One input clip and where its outputs belong.

    Attributes
    ----------
    path
        The clip, absolute.
    relative
        Its path relative to the input root, with `/` between folders and with its ending.
    stem
        What the names of its outputs begin with (see the module's text for the rule).
    label
        1 for a fight, else 0.
    frame_dir
        Its identifier in annotations: `<name of root>/<folder>/<stem>`; unique within an output root.
    annotation_path, overlay_path
        Where its outputs are written.
    """

    path: Path
    relative: str
    stem: str
    label: int
    frame_dir: str
    annotation_path: Path
    overlay_path: Path


@dataclass(frozen=True, slots=True)
class UnreadableInput:
    """A place in the input that could not be looked into; the clips behind it are not annotated."""

    path: Path
    info: str


@dataclass(frozen=True, slots=True)
class Discovery:
    """What was found in the input.

    Attributes
    ----------
    root
        The input folder, absolute; for a single file, the folder that holds it.
    clips
        The clips, sorted by relative path.
    problems
        Folders and links that could not be read.
    left_out
        Files that may be videos by their first bytes, and are not annotated because their ending is not one of a video.
    """

    root: Path
    clips: list[Clip]
    problems: list[UnreadableInput]
    left_out: list[Path] = field(default_factory=list)

    def warnings(self) -> list[str]:
        """Return in words what was left out."""
        count = len(self.left_out)
        names = ", ".join(map(str, self.left_out[:3])) + (", ..." if count > 3 else "")
        if not count:
            return []
        # Whole sentences, which can be translated.
        if count == 1:
            return [
                f"1 file that may be a video is left out: {names}; give it the ending of a video, or name it as input"
            ]
        return [
            f"{count} files that may be videos are left out: {names}; "
            "give them the ending of a video, or name one itself as the input"
        ]


def label_of(parts: Iterable[str]) -> int:
    """Return the label of a clip from the folders of its path, the input root's own name included."""
    return int(name_key(FIGHT_FOLDER) in map(name_key, parts))


def discover_clips(source: Path, output_root: Path) -> Discovery:
    """Find the clips in a folder, recursively, or take a single file.

    Hidden files and folders, unfinished files and earlier overlays are passed over, and so is the mirrored output tree
    where it lies inside the input. Links to folders are followed, each folder once. A file that is named itself is
    taken whatever its ending.

    Parameters
    ----------
    source
        A folder or a file.
    output_root
        Where outputs go; it need not exist.

    Returns
    -------
    Discovery
        At least one clip.

    Raises
    ------
    FightposeError
        If the input does not exist, cannot be read or holds no clip, or if file names are not read as UTF-8.
    """
    require_utf8_names()
    # Absolute before the walk: the outputs below the input are recognised by their path.
    source, output_root = _absolute(source), output_root.absolute()
    problems: list[UnreadableInput] = []
    left_out: list[Path] = []
    try:
        single = not stat.S_ISDIR(source.stat().st_mode)
    except OSError as error:
        raise FightposeError(
            f"cannot read the input {source}: {error.strerror or error}; check the path and its permissions"
        ) from error
    if single:
        return Discovery(source.parent, [find_clip(source, None, output_root)], [])
    # Opened once before the walk, which only notes folders that it cannot read: for the input itself that is an error.
    try:
        with os.scandir(source):
            pass
    except OSError as error:
        raise FightposeError(
            f"cannot read the input folder {source}: {error.strerror or error}; fix its permissions"
        ) from error
    clips = []
    for folder, names in _walk(source, output_root / root_name(source), problems, left_out):
        clips += _clips_of_folder(source, folder, names, output_root)
    # An empty input is usually a wrong path; the message says what was looked for and what was passed over.
    if not clips:
        raise FightposeError(
            f"no clips in {source}: looked in all its folders for files ending in {', '.join(VIDEO_ENDINGS)}"
            + (f"; {len(problems)} places could not be read, the first: {problems[0].path}" if problems else "")
            + (f"; {left_out[0]} may be a video, name it itself" if left_out else "")
        )
    # Sorted, as the order of a folder differs between file systems.
    return Discovery(source, sorted(clips, key=lambda clip: clip.relative), problems, sorted(left_out))


def find_clip(path: Path, input_root: Path | None, output_root: Path) -> Clip:
    """Return the record of one clip, the same as in a run over the whole input root.

    Parameters
    ----------
    path
        The clip. It is not opened, and need not exist any more.
    input_root
        Folder whose tree the outputs mirror; the clip's own folder if None.
    output_root
        Where outputs go.

    Raises
    ------
    FightposeError
        If the clip does not lie below the input root.
    """
    path = _absolute(path)
    root = path.parent if input_root is None else _absolute(input_root)
    if not path.is_relative_to(root):
        raise FightposeError(f"the clip {path} does not lie in the input folder {root}; name the folder that holds it")
    # Names that bear on each other under the rule of `output_stems` are the same up to the first dot; looking at no
    # more keeps this quick in a folder of thousands.
    start = name_key(path.name).split(".")[0]
    try:
        with os.scandir(path.parent) as listing:
            names = {
                entry.name
                for entry in listing
                if name_key(entry.name).split(".")[0] == start and _is_clip_name(entry.name)
            }
    except OSError:
        # A folder that may be entered but not listed: its clip may be readable all the same.
        names = set()
    clips = _clips_of_folder(root, path.parent, names | {path.name}, output_root.absolute())
    return next(clip for clip in clips if clip.path == path)


def _absolute(path: Path) -> Path:
    """Return an absolute path that keeps the names of links as the user wrote them."""
    # Only `..` needs the file system: behind a link it leads elsewhere than the text says.
    return path.resolve() if ".." in path.parts else path.absolute()


def root_name(root: Path) -> str:
    """Return the name under which an input root is mirrored; the file system's own root has none."""
    return root.name or "root"


def clip_record(root: Path, relative: str, stem: str, output_root: Path, mirrored: str = "") -> Clip:
    """Return the record of one clip, given the stem of its outputs.

    Parameters
    ----------
    root
        The input root.
    relative
        The clip's path in it, with `/` between folders.
    stem
        The stem that `output_stems` gives to the clip.
    output_root
        The output root.
    mirrored
        Name under which the root is mirrored; by default its own.
    """
    # Outputs mirror the folders of the input, so that equal file names in two folders do not collide.
    folder = PurePosixPath(mirrored or root_name(root), relative).parent
    ending = PurePosixPath(relative).suffix.lower()
    outputs = output_root / folder
    return Clip(
        path=root / relative,
        relative=relative,
        stem=stem,
        label=label_of(folder.parts),
        frame_dir=(folder / stem).as_posix(),
        annotation_path=outputs / f"{stem}{ANNOTATION_POSTFIX}.pkl",
        overlay_path=_overlay_path(outputs, stem, ending),
    )


def _overlay_path(folder: Path, stem: str, ending: str) -> Path:
    """Return where the overlay of a clip with an ending belongs: in the same container, or in mp4 for all others.

    Browsers play mp4, which also takes a quarter of the space. Earlier versions wrote an .avi for all others: one that
    is there stays the clip's overlay, so that finished clips are still finished and nothing lies there twice.
    """
    if ending in OVERLAY_ENDINGS:
        return folder / f"{stem}{OVERLAY_POSTFIX}{ending}"
    overlay, earlier = (folder / f"{stem}{OVERLAY_POSTFIX}{one}" for one in (".mp4", ".avi"))
    return earlier if earlier.exists() and not overlay.exists() else overlay


def _clips_of_folder(root: Path, folder: Path, names: Iterable[str], output_root: Path) -> list[Clip]:
    """Make the records of one folder's clips."""
    below = folder.relative_to(root)
    return [
        clip_record(root, (below / name).as_posix(), stem, output_root) for name, stem in output_stems(names).items()
    ]


def _is_clip_name(name: str) -> bool:
    """Tell by its name whether a file in a folder is a clip to annotate."""
    return not name.startswith(".") and is_video_name(name) and not is_own_output(name)


def _walk(
    root: Path, mirrored: Path, problems: list[UnreadableInput], left_out: list[Path]
) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder below the root with the names of its clips, real folders before linked ones.

    A folder is known by device and inode and visited once, so loops of links end and nothing is annotated twice; a
    linked folder is visited under its link only where no real path leads to it.
    """
    # The mirrored tree holds outputs only, except where outputs are written beside their clips (it is the root itself).
    seen: set[tuple[int, int] | None] = {_identity(mirrored)} - {_identity(root), None}
    looks = MOST_LOOKS
    waiting: list[Path] = [root]
    links: list[Path] = []
    while waiting or links:
        folder = waiting.pop() if waiting else links.pop(0)
        identity = _identity(folder)
        if identity in seen:
            continue
        # A folder without identity cannot be listed either and is reported below, each by itself.
        seen |= {identity} - {None}
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            problems.append(UnreadableInput(folder, f"cannot be read: {error.strerror or error}"))
            continue
        names: list[str] = []
        unknown: list[os.DirEntry[str]] = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                (links if entry.is_symlink() else waiting).append(Path(entry.path))
            elif _is_clip_name(entry.name) and _is_file(entry, problems):
                names.append(entry.name)
            else:
                unknown.append(entry)
        looks -= _look_at(unknown[:looks], left_out)
        yield folder, names


def _look_at(entries: Iterable[os.DirEntry[str]], left_out: list[Path]) -> int:
    """Note which entries without the name of a clip may be videos, and return how many files were opened for it."""
    looked = 0
    for entry in entries:
        if entry.is_file() and not is_video_name(entry.name) and not is_own_output(entry.name):
            looked += 1
            left_out += [Path(entry.path)] if may_be_video(Path(entry.path)) else []
    return looked


def _is_file(entry: os.DirEntry[str], problems: list[UnreadableInput]) -> bool:
    """Tell whether an entry with a clip's name is a file; a broken link is recorded, a pipe or socket passed over."""
    try:
        return stat.S_ISREG(entry.stat().st_mode)
    except OSError as error:
        problems.append(UnreadableInput(Path(entry.path), f"cannot be read: {error.strerror or error}"))
        return False


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what tells a folder from any other under whatever name, or None where there is none."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
