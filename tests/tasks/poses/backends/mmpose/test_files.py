"""A model given as mmpose config and checkpoint, as far as it goes without torch."""

import sys
import warnings
from pathlib import Path

import pytest

from tasks.core.errors import FightposeError
from tasks.core.settings import Thresholds
from tasks.poses.backends import table
from tasks.poses.backends.mmpose.compat import quieten
from tasks.poses.backends.mmpose.files import config_files
from tasks.poses.models import load_model, resolve_model


@pytest.fixture
def model_files(tmp_path: Path) -> tuple[Path, Path]:
    """Return a config that builds on another, and a checkpoint."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "runtime.py").write_text("a = 1\n")
    config = tmp_path / "rtmo.py"
    config.write_text('_base_ = ["base/runtime.py", "mmpose::_base_/default_runtime.py"]\nmodel = dict(type="X")\n')
    checkpoint = tmp_path / "rtmo.pth"
    checkpoint.write_bytes(b"weights")
    return config, checkpoint


def test_config_and_checkpoint_become_a_model(model_files: tuple[Path, Path]) -> None:
    """The thresholds are the earlier scripts', which were made for RTMO."""
    entry = resolve_model("movenet-multipose", *map(str, model_files))
    assert (entry.backend, entry.name, entry.thresholds) == (table.MMPOSE, "rtmo", Thresholds())
    assert entry.cached


def test_one_without_the_other_is_refused(model_files: tuple[Path, Path]) -> None:
    """A forgotten option must not silently mean the embedded model."""
    with pytest.raises(FightposeError, match="belong together"):
        resolve_model("movenet-multipose", config=str(model_files[0]))
    with pytest.raises(FightposeError, match="belong together"):
        resolve_model("movenet-multipose", checkpoint=str(model_files[1]))


def test_a_file_that_is_missing_is_named(model_files: tuple[Path, Path]) -> None:
    """Told before anything is imported."""
    with pytest.raises(FightposeError, match=r"gone\.pth does not exist"):
        resolve_model("", str(model_files[0]), str(model_files[1].with_name("gone.pth")))


def test_key_follows_the_content_of_every_file(tmp_path: Path, model_files: tuple[Path, Path]) -> None:
    """An edit of a base config, of the config or of the checkpoint makes old poses stale; a new path does not."""
    from tasks.poses.backends.mmpose.files import hash_of_mmpose_model

    config, checkpoint = model_files
    keys = [hash_of_mmpose_model(config, checkpoint)]
    for path in (tmp_path / "base" / "runtime.py", config, checkpoint):
        path.write_bytes(path.read_bytes() + b"# edited\n")
        keys.append(hash_of_mmpose_model(config, checkpoint))
    assert len(set(keys)) == 4
    moved = tmp_path / "elsewhere.pth"
    checkpoint.rename(moved)
    assert hash_of_mmpose_model(config, moved) == keys[-1]


def test_configs_that_name_each_other_end(tmp_path: Path) -> None:
    """A circle is mmengine's to refuse; here it must only end."""
    (tmp_path / "a.py").write_text('_base_ = "b.py"\n')
    (tmp_path / "b.py").write_text('_base_ = "a.py"\n')
    assert len(config_files(tmp_path / "a.py")) <= 3


@pytest.mark.parametrize("text", ["this is no python", "\x00"])
def test_config_that_is_no_python_is_refused(tmp_path: Path, text: str) -> None:
    """A checkpoint given as config, mostly."""
    path = tmp_path / "wrong.py"
    path.write_text(text)
    with pytest.raises(FightposeError, match="not an mmpose config"):
        config_files(path)


def test_base_config_that_is_missing_is_named(tmp_path: Path) -> None:
    """A config copied without its `_base_` files is the usual case."""
    path = tmp_path / "alone.py"
    path.write_text('_base_ = ["../_base_/default_runtime.py"]\n')
    with pytest.raises(FightposeError, match=r"default_runtime\.py cannot be read"):
        config_files(path)


@pytest.mark.parametrize("package", ["torch", "mmengine", "mmcv"])
def test_without_the_extra_the_error_says_how_to_get_it(
    model_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    """One line instead of an ImportError from five files down."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(FightposeError, match="make install-mmpose"):
        load_model("", "cpu", *map(str, model_files))


def test_warnings_of_mmpose_and_torch_are_not_shown_and_others_are() -> None:
    """Also after other code has put back the filters of before."""
    for _ in range(2):
        with warnings.catch_warnings(record=True) as shown:
            warnings.resetwarnings()
            quieten()
            quieten()
            assert len(warnings.filters) == 1
            for module in ("mmpose.models.backbones.csp_darknet", "torch.functional", "torch", "torchlike", "tasks.x"):
                warnings.warn_explicit("deprecated", FutureWarning, f"{module}.py", 1, module=module)
        assert [one.filename for one in shown] == ["torchlike.py", "tasks.x.py"]
