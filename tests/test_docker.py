"""The images and the compose file, as far as they can be checked without a Docker engine."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.prefect_server.serve import COMMAND, HOSTS

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"


@pytest.fixture(scope="module")
def stages() -> dict[str, list[str]]:
    """Give the lines of each stage of the Dockerfile, by its name."""
    found: dict[str, list[str]] = {}
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    name = ""
    for line in (line for line in text.splitlines() if line and not line.startswith("#")):
        if start := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            name = start[2]
            found[name] = []
        found[name].append(line)
    return found


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Give the compose file, its anchors and merges resolved."""
    return yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))


def test_a_build_without_a_target_makes_the_cpu_image(stages):
    """The last stage is what is built by default."""
    assert list(stages)[-1] == "cpu"
    assert {"cuda", "mmpose"} <= set(stages)


def test_the_mmpose_image_has_what_the_makefile_installs(stages):
    """Torch with CUDA, and mmpose of the same version without the packages that it does not need here."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (version,) = set(re.findall(r"--no-deps (mmpose==[\d.]+)", makefile))
    lines = "\n".join(stages["build-mmpose"])
    assert "'.[mmpose]'" in lines
    assert f"--no-deps {version}" in lines


@pytest.mark.parametrize("target", ["cpu", "cuda", "mmpose"])
def test_a_final_stage_is_lean_pinned_and_not_root(stages, target):
    """No compiler, no pip run; the base image has a full version; a user and a health check are set."""
    lines = stages[target]
    text = "\n".join(lines)
    base = lines[0].split()[1]
    base = stages[base][0].split()[1] if base in stages else base
    assert re.search(r":\d+\.\d+\.\d+", base), base
    assert "pip install" not in text
    assert not re.search(r"build-essential|gcc|-dev\b|git\b", text)
    assert "USER 1000" in lines
    assert any(line.startswith("HEALTHCHECK") for line in lines)


def test_every_dependency_of_the_images_is_pinned():
    """What pyproject.toml asks for is in the constraints with one version."""
    import tomllib

    pinned = {
        line.split("==")[0]
        for line in (DOCKER / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    }
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {re.split(r"[<>=!\[;]", line)[0].strip() for line in wanted} <= pinned


def test_everything_that_is_copied_is_in_the_build_context(stages):
    """A path that is missing, or left out by .dockerignore, breaks the build."""
    ignored = set((ROOT / ".dockerignore").read_text().split())
    for lines in stages.values():
        for line in lines:
            if line.startswith("COPY") and "--from" not in line:
                for path in line.split()[1:-1]:
                    assert (ROOT / path).exists() or path == "README.md", path
                    assert path not in ignored


def test_compose_services_wait_for_each_other_and_stay_on_this_machine(compose):
    """The database before the server before the workers; only 127.0.0.1 listens."""
    services = compose["services"]
    assert services["server"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("worker", "worker-gpu", "worker-mmpose"):
        assert services[name]["depends_on"] == {"server": {"condition": "service_healthy"}}
        assert services[name]["command"] == ["up"]
    assert all(port.startswith("127.0.0.1:") for service in services.values() for port in service.get("ports", []))
    assert services["worker-gpu"]["image"] == "fightpose:cuda"
    assert services["worker-mmpose"]["image"] == "fightpose:mmpose"
    devices = [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    assert services["worker-mmpose"]["deploy"]["resources"]["reservations"]["devices"] == devices


def test_the_compose_server_asks_for_a_secret_that_all_workers_have(compose):
    """Without one in .env nothing starts; and no argument of a process holds it."""
    server = compose["services"]["server"]
    assert server["environment"]["PREFECT_SERVER_API_AUTH_STRING"].startswith("${PREFECT_AUTH:?")
    assert server["entrypoint"][-1] == COMMAND[-1]
    for name in ("server", "worker", "worker-gpu", "worker-mmpose"):
        service = compose["services"][name]
        assert service["environment"]["PREFECT_API_AUTH_STRING"] == "${PREFECT_AUTH}"
        assert "PREFECT_AUTH" not in " ".join(service["command"])
    # The workers ask by the service's name, which the check of the host has to know.
    assert compose["services"]["worker"]["environment"]["PREFECT_API_URL"] == "http://server:4200/api"
    assert server["environment"][HOSTS] == "server"


def test_every_variable_of_the_compose_file_is_in_the_example(compose):
    """And nothing else is."""
    used = set(re.findall(r"\$\{(\w+)", (DOCKER / "compose.yaml").read_text(encoding="utf-8")))
    lines = (DOCKER / ".env.example").read_text(encoding="utf-8").splitlines()
    assert used == {line.split("=")[0] for line in lines if "=" in line and not line.startswith("#")}


def test_the_compose_file_keeps_the_schema_of_compose():
    """Checked with the schema that the package check-jsonschema brings."""
    pytest.importorskip("check_jsonschema", reason="install the extra 'dev'")
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml"],
        cwd=DOCKER,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


def test_the_dockerfile_passes_hadolint():
    """Where hadolint is installed."""
    program = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("hadolint is not installed")
    checked = subprocess.run([program, str(DOCKER / "Dockerfile")], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
