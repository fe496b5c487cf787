"""Foreign videos are decoded in a process of their own.

Problem: FFmpeg's code is driven by bytes that anybody may have made. It may crash, hang or take all memory, and none of
that can be caught from inside: Python cannot interrupt native code. Solution: a helper process
(`tasks.video.decoder_process`) decodes under a limit on its memory and puts frames into memory that it shares with this
one. If it dies, falls silent or is refused memory, it is killed, the clip becomes a ClipError, and the next clip gets a
new helper.

Messages are JSON and never pickles: nothing that comes from the helper is run here. Frames cost one copy each (1080p:
about 1 ms); a helper takes half a second to start and serves many clips.
"""

from __future__ import annotations

import atexit
import json
import logging
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.errors import ClipError, FailureReason
from tasks.core.prefetch import still_wanted
from tasks.core.records import VideoInfo
from tasks.core.storage import file_sha256
from tasks.video.limits import MB, ClipLimits
from tasks.video.reading import Frame

logger = logging.getLogger(__name__)

SILENCE_SECONDS = 120.0
"""A helper that sends nothing for this long hangs. A frame takes milliseconds, a slow network disk seconds."""

LOOK_SECONDS = 0.2
"""How often a thread that waits for a helper checks whether the frames are still wanted: Ctrl-C ends other threads."""

BUFFER_BYTES, MIN_SLOTS, MAX_SLOTS = 32 << 20, 4, 64
"""How far the helper may be ahead: by so many bytes, but by so many frames at least and at most."""

MAX_MESSAGE_BYTES = 1 << 20

_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGINT, signal.SIGHUP, signal.SIGTERM)
"""Signals that no defect of the decoder raises; a helper ignores all but the first once it has started."""

idle: list[Decoder] = []
"""Helpers that wait for work. Several threads may take from here: list operations are atomic."""

_processes: set[int] = set()
"""Process IDs of all helpers that were not ended yet."""


def helper_processes() -> list[int]:
    """Return the process IDs of this process's helpers, busy or idle."""
    return list(_processes)


def probe_guarded(limits: ClipLimits) -> VideoInfo:
    """Do what `tasks.video.reading.probe_video` does, with the header read in a helper process.

    Raises
    ------
    ClipError, OSError
        As there; also where the helper crashes, hangs or passes a limit of the clip.
    """
    # Before the helper looks: a path that is not there is told with the error that a person knows.
    limits.path.stat()
    decoder = Decoder.take()
    with decoder.working(limits):
        decoder.ask(
            {
                "do": "header",
                "path": str(limits.path),
                "allow_truncated": limits.settings.allow_truncated,
                "bytes": limits.settings.memory_limit * MB,
            }
        )
        video = decoder.receive(limits)["video"]
    # The hash is made here: reading a large file over a slow network is no reason to suspect the decoder.
    return replace(VideoInfo(**video | {"path": limits.path}), sha256=file_sha256(limits.path))


def decode_guarded(video: VideoInfo, limits: ClipLimits) -> Iterator[Frame]:
    """Do what `tasks.video.reading.decode_frames` does, in a helper process.

    Raises
    ------
    ClipError, OSError
        As there; also where the helper crashes, hangs or passes a limit of the clip.
    """
    decoder = Decoder.take()
    with decoder.working(limits):
        slots = decoder.share(video.height, video.width)
        decoder.ask_frames(video, len(slots), limits)
        while "slot" in (message := decoder.receive(limits)):
            image = slots[int(message["slot"])].copy()
            decoder.send({"free": message["slot"]})
            yield Frame(image, message["time"])


class Decoder:
    """A helper process and the ways to talk to it."""

    def __init__(self) -> None:
        self._memory = _shared_file()
        self._answered = True
        self._connection, theirs = Pipe()
        # The helper finds our modules where this process does, however that came about.
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            # Threads and arenas of libraries that the helper hardly uses would eat its address space.
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "2",
        }
        command = [sys.executable, "-c", "from tasks.video.decoder_process import main; main()"]
        try:
            with theirs:
                self.process = subprocess.Popen(  # noqa: S603 - our own module
                    [*command, str(theirs.fileno()), str(self._memory), str(os.getpid())],
                    pass_fds=(theirs.fileno(), self._memory),
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
        except BaseException:
            # No process could be started: the step is tried again, and must not use up the descriptors meanwhile.
            self._connection.close()
            os.close(self._memory)
            raise
        _processes.add(self.process.pid)

    @classmethod
    def take(cls) -> Decoder:
        """Return an idle helper, or a new one."""
        while True:
            try:
                decoder = idle.pop()
            except IndexError:
                return cls()
            # One that died while it was idle (killed by a person, or with the terminal) is no clip's fault.
            if decoder.process.poll() is None:
                return decoder
            decoder.close()

    @contextmanager
    def working(self, limits: ClipLimits) -> Iterator[None]:
        """Keep the helper for the next clip if it has answered in full when the block ends, else end it.

        Raises
        ------
        ClipError, OSError
            What the helper's end means for the clip.
        """
        try:
            yield
        except (EOFError, ConnectionError) as error:
            raise _died(limits.path, self.exit_code()) from error
        except MemoryError as error:
            raise limits.too_much_memory() from error
        except _SilentError as error:
            info = f"the decoder hangs on it (nothing for {SILENCE_SECONDS:.0f} s); convert it to H.264 mp4"
            raise ClipError(FailureReason.PROCESSING_ERROR, limits.path, info) from error
        finally:
            # It is in the middle of a clip if a limit was passed, or if the caller wants no more frames.
            if self._answered:
                idle.append(self)
            else:
                self.close()

    @property
    def descriptor(self) -> int:
        """Descriptor of the shared memory."""
        return self._memory

    def share(self, height: int, width: int, count: int | None = None) -> npt.NDArray[np.uint8]:
        """Make room for some frames in the shared memory and return them, shape (count, height, width, 3).

        Parameters
        ----------
        height, width
            Of a frame, pixels.
        count
            Number of frames; by default as many as the helper may be ahead.
        """
        if count is None:
            count = max(MIN_SLOTS, min(MAX_SLOTS, BUFFER_BYTES // (height * width * 3)))
        size = count * height * width * 3
        os.ftruncate(self._memory, size)
        return np.frombuffer(mmap.mmap(self._memory, size), np.uint8).reshape(count, height, width, 3)

    def forget_frames(self) -> None:
        """Give the pages of the shared memory back to the system; nobody may read frames from it any more."""
        os.ftruncate(self._memory, 0)

    def ask_frames(self, video: VideoInfo, slots: int, limits: ClipLimits) -> None:
        """Ask for the frames of a clip, in so many slots of the shared memory."""
        self.ask(
            {
                "do": "frames",
                "path": str(video.path),
                "video": asdict(video) | {"path": None},
                "slots": slots,
                "bytes": limits.settings.memory_limit * MB,
            }
        )

    def ask(self, request: dict[str, Any]) -> None:
        """Send a request; the messages that answer it follow."""
        self._answered = False
        self.send(request)

    def send(self, message: dict[str, Any]) -> None:
        """Send a message; ASCII only, since a file name may hold bytes that are no UTF-8."""
        self._connection.send_bytes(json.dumps(message).encode("ascii"))

    def receive(self, limits: ClipLimits) -> dict[str, Any]:
        """Return the next message of the helper that is no line for the log.

        Raises
        ------
        ClipError, OSError, MemoryError
            What the helper ran into.
        EOFError
            If it is dead.
        _SilentError, _UnwantedError
            If it has said nothing for too long, or nobody wants to hear it any more.
        """
        while True:
            limits.check()
            self._wait(limits)
            message = json.loads(self._connection.recv_bytes(MAX_MESSAGE_BYTES))
            if "log" not in message:
                break
            logger.warning("%s", message["log"])
        if "no_memory" in message:
            # What is left of its memory may not be enough for the next clip: it counts as not having answered.
            raise MemoryError
        self._answered = "slot" not in message
        if "clip_error" in message:
            reason, info = message["clip_error"]
            raise ClipError(FailureReason(reason), limits.path, info)
        if "os_error" in message:
            raise OSError(*message["os_error"])
        return dict(message)

    def _wait(self, limits: ClipLimits) -> None:
        """Wait until there is a message; see `receive` for what is raised."""
        silent_at = time.monotonic() + SILENCE_SECONDS
        while not self._connection.poll(max(0.0, min(LOOK_SECONDS, silent_at - time.monotonic(), limits.seconds_left))):
            limits.check()
            if not still_wanted():
                raise _UnwantedError
            if time.monotonic() >= silent_at:
                raise _SilentError

    def close(self) -> int:
        """End the helper, and return its exit code (negative: the signal that it died of); again does nothing."""
        # A helper that died by itself keeps its own code; poll() before kill() reads it.
        if self.process.poll() is None:
            self.process.kill()
        if not self._connection.closed:
            self._connection.close()
            os.close(self._memory)
        code = self.process.wait()
        _processes.discard(self.process.pid)
        return code

    def exit_code(self) -> int:
        """Wait for a helper that closed its connection, end it, and return its exit code."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)
        return self.close()


class _SilentError(Exception):
    """A helper has said nothing for `SILENCE_SECONDS`."""


class _UnwantedError(Exception):
    """Nobody waits for the frames any more; it ends the thread that asked for them and reaches nobody."""


def _died(path: Path, code: int) -> Exception:
    """Return the error of a clip whose helper died with an exit code."""
    if -code in _FROM_OUTSIDE:
        # Out of memory on the whole machine, a person, or a service that is stopped. It may go better at the next try.
        return OSError(f"the decoder of {path} was killed from outside; is the machine out of memory?")
    name = signal.Signals(-code).name if -code in list(signal.Signals) else f"exit code {code}"
    return ClipError(
        FailureReason.PROCESSING_ERROR,
        path,
        f"the decoder crashed on it ({name}); convert it to H.264 mp4, or leave it out of the input",
    )


def _shared_file() -> int:
    """Return the descriptor of memory that two processes can map and that goes with the last of them."""
    if hasattr(os, "memfd_create"):
        # Not in /dev/shm: containers have 64 MB of it.
        return os.memfd_create("fightpose-frames", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as stream:
        return os.dup(stream.fileno())


@atexit.register
def _close_idle() -> None:
    """End the helpers that are left when this process ends."""
    while idle:
        idle.pop().close()
