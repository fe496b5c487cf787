"""Which files a model in mmpose's form consists of, told without importing mmpose."""

import ast
import importlib.util
from pathlib import Path

from tasks.core.errors import FightposeError
from tasks.core.storage import key_of, model_sha256

HEAD = "RTMOHead"
"""Name of the class in mmpose that only RTMO's configs use."""


def hash_of_mmpose_model(config: Path, checkpoint: Path) -> str:
    """Return one key for a checkpoint, its config and every config that this one builds on.

    Raises
    ------
    FightposeError
        If one of the files does not exist or a config is not Python.
    """
    return key_of([model_sha256(path) for path in (checkpoint, *config_files(config))])


def config_files(config: Path) -> list[Path]:
    """Return a config and, through its `_base_`, all configs that it builds on, each once.

    Raises
    ------
    FightposeError
        If one of the files does not exist or is not Python.
    """
    found: list[Path] = []
    waiting = [config]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.append(path)
        waiting += [(path.parent / base).resolve() for base in _bases(path)]
    return found


def shipped_config(name: str) -> Path:
    """Return the config that mmpose's wheel ships for a published RTMO, by its short name (`rtmo-s`).

    Raises
    ------
    FightposeError
        If mmpose is not installed, or ships no such config.
    """
    found = importlib.util.find_spec("mmpose")
    for place in (found.submodule_search_locations or []) if found else []:
        folder = Path(place) / ".mim" / "configs" / "body_2d_keypoint" / "rtmo" / "body7"
        if configs := sorted(folder.glob(f"{name}_*.py")):
            return configs[0]
    raise FightposeError(f"no mmpose here ships a config of {name}: run `make install-mmpose`, or give --config")


def require_rtmo_config(config: Path) -> None:
    """Refuse a config of another model, without running it: mmpose takes ten seconds to get to an error of its own.

    Raises
    ------
    FightposeError
        If neither the config nor one of those that it builds on names RTMO's head, or as `config_files`.
    """
    texts = [path.read_text(encoding="utf-8") for path in config_files(config)]
    # A base such as `mmpose::...` lies in the package: what it names is known only once it is loaded.
    if not any(HEAD in text or "::" in text for text in texts):
        raise FightposeError(
            f"{config} is a config of another model, not of RTMO (it names no {HEAD}); use one of mmpose's "
            "configs/body_2d_keypoint/rtmo"
        )


def _bases(config: Path) -> list[str]:
    """Return the value of `_base_`, which mmengine reads from the file's text as well."""
    try:
        tree = ast.parse(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise FightposeError(f"mmpose config {config} cannot be read ({error.strerror}); check --config") from error
    except (SyntaxError, ValueError) as error:
        raise FightposeError(f"{config} is not an mmpose config (a Python file): {error}; check --config") from error
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and [ast.unparse(target) for target in statement.targets] == ["_base_"]:
            texts = [node.value for node in ast.walk(statement.value) if isinstance(node, ast.Constant)]
            # A base such as `mmpose::...` names a file of the package, which its version pins.
            return [text for text in texts if isinstance(text, str) and "::" not in text]
    return []
