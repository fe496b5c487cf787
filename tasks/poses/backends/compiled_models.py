"""Compiled models kept between processes, so that each shape of a model is compiled once per machine.

OpenVINO takes a core for more than a second to make a network for one input shape, and a run meets seven shapes in ten
clips of a few cameras: frames, tiles and crops. Read back, one shape takes a third of that (docs/models.md). OpenVINO's
own CACHE_DIR saves less, because it needs the model read and prepared before it can look for it; it also writes its
files in place, where a second process can read half of one.

The files lie in `compiled` below the model folder: the sha256 of what follows, then the exported model. Their names say
what they belong to: model file, OpenVINO's build, processor, precision and input. A file that is damaged, of another
version, or that OpenVINO does not take is removed and made again; without write access nothing is kept. A user who can
write to the model folder can already replace the models, so that these files need no more protection than those.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks.core.choices import Precision
from tasks.core.download import model_folder
from tasks.core.storage import atomic_path, key_of, model_sha256, sweep_partials
from tasks.poses.backends.openvino_cpu import compile_on_cpu, options_of, require_bf16

logger = logging.getLogger(__name__)

FORM = 1
"""Raise it when what is compiled around a network changes (layout, colours, cut): files of before then do not fit."""

MOST_BYTES = 1 << 30
"""Most that all compiled models take on disk: MoveNet has 10 MB per shape, RTMO-l 180. The longest unused go first."""

DIGEST_BYTES = hashlib.sha256().digest_size


class CompiledModels:
    """The compiled forms of one model file on this machine.

    Parameters
    ----------
    core
        OpenVINO's core.
    file
        The model file; of OpenVINO's own form the .xml file, beside which lies the .bin file.
    precision
        The numbers that layers run in.

    Raises
    ------
    FightposeError
        If the processor lacks the precision.
    """

    def __init__(self, core: Any, file: Path, precision: Precision) -> None:
        import openvino

        if precision is Precision.BF16:
            require_bf16(core)
        self._core, self._precision = core, precision
        # Not machine code, but a graph that was rewritten for what this processor can do.
        processor = [core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
        made_by = [FORM, openvino.__version__, platform.machine(), processor[0], sorted(processor[1])]
        self.prefix = key_of(_content(file), *made_by, precision)
        self._folder = model_folder() / "compiled"

    @property
    def known(self) -> bool:
        """Whether some shape of the file was compiled here before: then it is a model of the right kind."""
        return any(self._folder.glob(f"{self.prefix}-*.blob"))

    def get(self, form: str, build: Callable[[], Any]) -> Any:
        """Return the compiled model for one form of its input.

        Parameters
        ----------
        form
            What the input is, such as `256x416`: part of a file name.
        build
            Returns OpenVINO's model for that form; called only where it has to be compiled.

        Raises
        ------
        RuntimeError
            If OpenVINO cannot compile it.
        """
        path = self._folder / f"{self.prefix}-{form}.blob"
        data = _read(path)
        if data is not None:
            try:
                return self._core.import_model(data, "CPU", options_of(self._precision))
            except RuntimeError as error:
                # Intact, and still not for this build of OpenVINO: made again below.
                logger.debug("%s does not fit (%s)", path, error)
        compiled = compile_on_cpu(self._core, build(), self._precision)
        _keep(path, compiled)
        return compiled


def _content(file: Path) -> str:
    """Return the hash of a model's files."""
    # An .xml file holds the graph alone; the weights beside it decide the answers as well.
    weights = file.with_suffix(".bin")
    return key_of(*(model_sha256(path) for path in (file, weights) if path == file or file.suffix == ".xml"))


def _read(path: Path) -> bytes | None:
    """Return an exported model, None where there is none that is whole."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    digest, model = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
    # Checked before OpenVINO sees it, which may crash on half a file instead of refusing it.
    if hashlib.sha256(model).digest() != digest:
        logger.debug("%s is damaged; the model is compiled again", path)
        with suppress(OSError):
            path.unlink()
        return None
    # The time of the file says when it was last used, whatever the file system notes about reading.
    with suppress(OSError):
        os.utime(path)
    return model


def _keep(path: Path, compiled: Any) -> None:
    """Write a compiled model for later processes, if the folder can be written."""
    try:
        stream = io.BytesIO()
        compiled.export_model(stream)
        model = stream.getvalue()
        # Renamed into place: no other process may read half a file.
        with atomic_path(path) as partial:
            partial.write_bytes(hashlib.sha256(model).digest() + model)
        sweep_partials(path.parent)
        _make_room(path)
    # A folder that is read-only, a full disk, or a plugin that cannot export: the run goes on without.
    except (OSError, RuntimeError) as error:
        logger.debug("the compiled model is not kept (%s)", error)


def _make_room(newest: Path) -> None:
    """Remove the files that were unused for longest until all take no more than `MOST_BYTES`; never the newest."""
    found = []
    for path in newest.parent.glob("*.blob"):
        # Another process may be doing the same.
        with suppress(OSError):
            status = path.stat()
            found.append((path == newest, status.st_mtime_ns, status.st_size, path))
    excess = sum(size for _, _, size, _ in found) - MOST_BYTES
    # In the order of their last use; True sorts after False, so that the newest comes last.
    for is_newest, _, size, path in sorted(found):
        if excess <= 0 or is_newest:
            return
        with suppress(OSError):
            path.unlink()
        excess -= size
