"""Importing mmpose where nothing was compiled.

mmpose imports packages at its top that RTMO never calls: mmcv's compiled operators, torchvision, xtcocotools and mmdet.
Building them takes half an hour and a compiler. Here, while mmpose is imported, small stand-ins take the place of
those that are absent or cannot be imported; where the real package works, nothing is touched. The stand-ins leave
`sys.modules` again afterwards, so that no other library takes them for the real thing.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from tasks.core.errors import FightposeError

logger = logging.getLogger(__name__)

INSTALL = "run `make install-mmpose`, or pip install as the extra `mmpose` in pyproject.toml says"


NOISY = "(mmpose|mmengine|mmcv|mmdet|torch)($|[.])"
"""Modules whose warnings are about their own code (deprecated calls and the like), which no user can act on."""


def quieten() -> None:
    """Keep the warnings of mmpose and torch off the terminal, from here on.

    Called before every use and not once: whatever code runs us may put back the filters of before, and the warning
    about `autocast` would then come again for each clip.
    """
    # Adding a filter that is there already would make Python forget which warnings of others it has shown.
    if not any(getattr(module, "pattern", "") == NOISY for _, _, _, module, _ in warnings.filters):
        warnings.filterwarnings("ignore", module=NOISY)


@contextmanager
def importable_mmpose() -> Iterator[list[str]]:
    """Make mmpose importable inside the block; gives the names of the packages that got a stand-in.

    Raises
    ------
    FightposeError
        If torch, mmengine, mmcv or mmpose itself is not installed.
    """
    quieten()
    require_mmpose()
    standing_in: list[str] = []
    added: list[str] = []
    for name, works, build in _STAND_INS:
        if not _works(works):
            modules = build()
            # Whatever a failed import left behind is half-made.
            for key in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
                del sys.modules[key]
            sys.modules.update(modules)
            added += modules
            standing_in.append(name)
    logger.debug("stand-ins while mmpose is imported: %s", ", ".join(standing_in) or "none")
    try:
        _require("mmpose")
        yield standing_in
    finally:
        for key in added:
            sys.modules.pop(key, None)


def require_mmpose() -> None:
    """Check that what mmpose needs is installed; call it before importing a module that imports torch at its top.

    Raises
    ------
    FightposeError
        If torch, mmengine or mmcv cannot be imported, or mmpose is not installed.
    """
    require_installed()
    # mmpose itself imports nowhere but among the stand-ins.
    for package in ("torch", "mmengine", "mmcv"):
        _require(package)


def require_installed(*packages: str) -> None:
    """Check that what mmpose needs is installed, without importing any of it: torch alone takes seconds.

    Parameters
    ----------
    packages
        What the caller needs beyond that.

    Raises
    ------
    FightposeError
        If torch, mmengine, mmcv, mmpose or one of the packages is absent.
    """
    for package in ("torch", "mmengine", "mmcv", "mmpose", *packages):
        if not _is_installed(package):
            raise FightposeError(f"the mmpose backend needs {package}, which is not installed; {INSTALL}")


def _is_installed(package: str) -> bool:
    """Tell whether a package is there, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    # A module that is there without a spec (a stand-in), or None in its place (blocked).
    except ValueError:
        return sys.modules.get(package) is not None


def _require(package: str) -> None:
    """Import a package, or say how to install it."""
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise FightposeError(f"the mmpose backend cannot import {package} ({error}); {INSTALL}") from error


def _works(names: tuple[str, tuple[str, ...]]) -> bool:
    """Tell whether a module and what is needed from it can be imported."""
    module, attributes = names
    try:
        found = importlib.import_module(module)
    # A package built for another torch or numpy fails with whatever its C code raises (RuntimeError, ValueError).
    except Exception:
        return False
    return all(hasattr(found, attribute) for attribute in attributes)


def _module(name: str, package: bool = False, **members: Any) -> ModuleType:
    """Return an empty module with some members, with a spec as `importlib.util.find_spec` wants it."""
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None, is_package=package)
    for key, value in members.items():
        setattr(module, key, value)
    return module


def _unavailable(what: str) -> Callable[..., Any]:
    """Return a function that raises when it is called."""

    def call(*args: Any, **kwargs: Any) -> Any:
        """Take the place of something that RTMO never calls."""
        raise FightposeError(f"this model needs {what}, which is not installed; install the full package")

    return call


class _CompiledOperators(ModuleType):
    """Stand-in for `mmcv._ext`: mmcv only asks whether its operators are there."""

    def __getattr__(self, name: str) -> Any:
        # Dunder names are asked for by the import system and must stay absent.
        if name.startswith("__"):
            raise AttributeError(name)
        return _unavailable(f"mmcv's compiled operator {name}")


def _compiled_operators() -> dict[str, ModuleType]:
    """Return the stand-in for mmcv's compiled operators."""
    module = _CompiledOperators("mmcv._ext")
    module.__spec__ = ModuleSpec("mmcv._ext", None)
    return {"mmcv._ext": module}


def _torchvision() -> dict[str, ModuleType]:
    """Return the stand-in for torchvision: mmpose's visualizer imports one class of it."""
    transforms = _module("torchvision.transforms", ToPILImage=_unavailable("torchvision"))
    return {"torchvision": _module("torchvision", transforms=transforms), "torchvision.transforms": transforms}


def _xtcocotools() -> dict[str, ModuleType]:
    """Return pycocotools under the name of its fork, whose wheel does not import with numpy 2."""
    modules = {"xtcocotools": "pycocotools"} | {
        f"xtcocotools.{part}": f"pycocotools.{part}" for part in ("coco", "cocoeval", "mask")
    }
    for real in modules.values():
        _require(real)
    return {name: sys.modules[real] for name, real in modules.items()}


def _mmdet() -> dict[str, ModuleType]:
    """Return the stand-in for mmdet: the RTMO head imports a type and a function of it that training uses."""
    utils = _module("mmdet.utils", ConfigType=dict, reduce_mean=_unavailable("mmdet"))
    return {"mmdet": _module("mmdet", utils=utils), "mmdet.utils": utils}


_STAND_INS: tuple[tuple[str, tuple[str, tuple[str, ...]], Callable[[], dict[str, ModuleType]]], ...] = (
    ("mmcv._ext", ("mmcv._ext", ()), _compiled_operators),
    ("torchvision", ("torchvision.transforms", ("ToPILImage",)), _torchvision),
    ("xtcocotools", ("xtcocotools.mask", ()), _xtcocotools),
    ("mmdet", ("mmdet.utils", ("ConfigType", "reduce_mean")), _mmdet),
)
"""Name of the package, what must work of it (module, members), and what builds its stand-in."""
