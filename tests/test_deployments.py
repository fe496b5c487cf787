"""The deployments, pools and automations: what is written there is known, complete, and taken by a real server."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FILE = ROOT / "deployments" / "prefect.yaml"
POOL_TYPES = ("process", "docker", "kubernetes")

# What Prefect 3.9 reads (prefect.cli.deploy._models); it passes over every other key without a word.
TOP_KEYS = {"name", "prefect-version", "build", "push", "pull", "definitions", "deployments"}
DEPLOYMENT_KEYS = {
    "name", "version", "version_type", "tags", "description", "schedule", "schedules", "paused", "concurrency_limit",
    "flow_name", "entrypoint", "parameters", "enforce_parameter_schema", "build", "push", "pull", "work_pool",
    "triggers", "sla",
}  # fmt: skip
SCHEDULE_KEYS = {
    "cron", "interval", "rrule", "timezone", "anchor_date", "active", "parameters", "slug", "replaces", "day_or",
}  # fmt: skip
NESTED_KEYS = {
    "work_pool": {"name", "work_queue_name", "job_variables"},
    "concurrency_limit": {"limit", "collision_strategy", "grace_period_seconds"},
}


def needs_server(test: Any) -> Any:
    """Mark a test whose code asks Prefect's server; without the session's one it starts one of its own, each time."""
    return pytest.mark.prefect(pytest.mark.usefixtures("prefect_server")(test))


def unknown_keys(value: dict[str, Any]) -> list[str]:
    """Return every key of a prefect.yaml that Prefect would pass over."""
    found = [str(key) for key in value.keys() - TOP_KEYS]
    for deployment in value.get("deployments", []):
        name = deployment.get("name")
        found += [f"{name}.{key}" for key in deployment.keys() - DEPLOYMENT_KEYS]
        for part, known in NESTED_KEYS.items():
            if isinstance(deployment.get(part), dict):
                found += [f"{name}.{part}.{key}" for key in deployment[part].keys() - known]
        for schedule in deployment.get("schedules", []):
            found += [f"{name}.schedules.{key}" for key in schedule.keys() - SCHEDULE_KEYS]
    return sorted(found)


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    """Give the file as it is written."""
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def load_flow(entrypoint: str) -> Any:
    """Import the flow that an entrypoint names."""
    module, name = entrypoint.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


def test_every_key_is_one_that_prefect_reads(content):
    """A typo in a key would silently drop its value."""
    assert unknown_keys(content) == []


def test_a_misspelt_key_is_found_at_every_level(content):
    """The check above sees what Prefect does not."""
    wrong = json.loads(json.dumps(content))
    wrong["pulls"] = []
    wrong["deployments"][0]["tag"] = []
    wrong["deployments"][0]["work_pool"]["queue"] = "default"
    wrong["deployments"][1]["concurrency_limit"]["limits"] = 1
    wrong["deployments"][1]["schedules"][0]["actve"] = False
    assert len(unknown_keys(wrong)) == 5


def test_our_list_of_keys_is_the_one_of_the_installed_prefect():
    """A new Prefect may read more, or less."""
    models = importlib.import_module("prefect.cli.deploy._models")
    assert set(models.DeploymentConfig.model_fields) == DEPLOYMENT_KEYS
    assert set(models.RawScheduleConfig.model_fields) == SCHEDULE_KEYS
    assert set(models.WorkPoolConfig.model_fields) == NESTED_KEYS["work_pool"]
    assert set(models.ConcurrencyLimitSpec.model_fields) == NESTED_KEYS["concurrency_limit"]


def test_the_deployments_are_those_that_the_program_starts(content):
    """Each is there once, described, tagged, on a pool that `up` creates, and checks its parameters."""
    from flows.prefect_server.provision import POOLS
    from flows.runs.pool import DEPLOYMENT

    names = [deployment["name"] for deployment in content["deployments"]]
    assert names == [
        "annotate-video",
        "annotate-dataset",
        "retry-failed",
        "verify-mapping",
        "analyze-dataset",
        "annotate-shard",
    ]
    assert f"{names[0]}/{names[0]}" == DEPLOYMENT
    for deployment in content["deployments"]:
        assert deployment["enforce_parameter_schema"] is True
        assert deployment["description"]
        # The automations know our runs by this tag.
        assert "fightpose" in deployment["tags"]
        assert deployment["work_pool"]["name"] in POOLS
        assert deployment["work_pool"]["job_variables"]["env"]["DO_NOT_TRACK"] == "1"
    assert content["pull"] == []


def test_every_entrypoint_is_a_flow_whose_parameters_match(content):
    """Parameters of a deployment and of its schedules exist, and the form can be made of each flow."""
    for deployment in content["deployments"]:
        flow = load_flow(deployment["entrypoint"])
        known = inspect.signature(flow.fn).parameters
        given = [deployment.get("parameters", {}), *(s.get("parameters", {}) for s in deployment.get("schedules", []))]
        for parameters in given:
            assert set(parameters) <= set(known), deployment["name"]
        assert flow.name == deployment["name"]
        properties = flow.parameters.properties
        assert all(properties[name].get("description") for name in known), deployment["name"]


def test_the_nightly_schedule_is_off_and_complete(content):
    """A person who switches it on gets a run that starts."""
    dataset = next(d for d in content["deployments"] if d["name"] == "annotate-dataset")
    (schedule,) = dataset["schedules"]
    assert schedule["active"] is False
    flow = load_flow(dataset["entrypoint"])
    flow.validate_parameters({**dataset["parameters"], **schedule["parameters"]})
    assert schedule["parameters"]["settle_seconds"] > 0


@pytest.mark.parametrize("kind", POOL_TYPES)
def test_every_variable_of_a_pool_template_is_used_and_every_placeholder_is_a_variable(kind):
    """Prefect takes a placeholder without variable for an empty value."""
    template = json.loads((ROOT / f"deployments/pool-{kind}.json").read_text(encoding="utf-8"))
    text = json.dumps(template["job_configuration"])
    used = {part.split("}}")[0].strip() for part in text.split("{{")[1:]}
    assert used == set(template["variables"]["properties"])


def configuration(kind: str) -> tuple[Any, dict[str, Any]]:
    """Return the worker's own configuration class and a pool's template, or skip where it is not installed."""
    where = {
        "process": ("prefect.workers.process", "ProcessJobConfiguration"),
        "docker": ("prefect_docker.worker", "DockerWorkerJobConfiguration"),
        "kubernetes": ("prefect_kubernetes.worker", "KubernetesWorkerJobConfiguration"),
    }
    module, name = where[kind]
    worker = pytest.importorskip(module, reason="install the extra 'pools'")
    template = json.loads((ROOT / f"deployments/pool-{kind}.json").read_text(encoding="utf-8"))
    return getattr(worker, name), template


def resolved(kind: str, values: dict[str, Any]) -> Any:
    """Return the configuration of one run on a pool of a kind."""
    made, template = configuration(kind)
    return asyncio.run(made.from_template_and_values(template, values))


@needs_server
def test_the_docker_pool_hands_gpus_and_shared_memory_to_the_container(content):
    """As Docker's API wants them; an empty list switches the GPUs off."""
    values = content["deployments"][0]["work_pool"]["job_variables"]
    made = resolved("docker", values)
    assert made.container_create_kwargs["device_requests"] == [
        {"Driver": "nvidia", "Count": -1, "Capabilities": [["gpu"]]}
    ]
    assert made.container_create_kwargs["shm_size"] == "8g"
    assert made.env["PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR"] == "reschedule"
    assert made.volumes == ["/data:/data"]
    without = resolved("docker", {**values, "device_requests": []})
    assert not without.container_create_kwargs.get("device_requests")


@needs_server
def test_docker_itself_takes_the_containers_settings(content):
    """docker-py refuses settings that it does not know, and builds the request that the engine gets."""
    types = pytest.importorskip("docker.models.containers", reason="install the extra 'pools'")
    made = resolved("docker", content["deployments"][0]["work_pool"]["job_variables"])
    asked = {"image": made.image, "version": "1.43", **made.container_create_kwargs}
    host = types._create_container_args(asked)["host_config"]
    (request,) = host["DeviceRequests"]
    assert (request["Driver"], request["Count"], request["Capabilities"]) == ("nvidia", -1, [["gpu"]])
    assert host["ShmSize"] == 8 << 30


@needs_server
@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_prefects_command_is_not_passed_to_the_image_s_own_entrypoint(kind, content):
    """The image's entrypoint is `fightpose`, which knows no command `prefect`."""
    made = resolved(kind, content["deployments"][0]["work_pool"]["job_variables"])
    if kind == "docker":
        assert made.container_create_kwargs["entrypoint"] == ["/usr/bin/env"]
        assert made.command is None
    else:
        container = made.job_manifest["spec"]["template"]["spec"]["containers"][0]
        assert container["command"] == ["/usr/bin/env"]
        # Filled in by the worker, for each run.
        assert "args" not in container


@pytest.mark.parametrize("kind", POOL_TYPES)
def test_no_run_can_name_the_command_of_its_process_or_container(kind):
    """A job variable that the template does not have is refused by the server, because of these words."""
    variables = json.loads((ROOT / f"deployments/pool-{kind}.json").read_text(encoding="utf-8"))["variables"]
    assert variables["additionalProperties"] is False
    assert not {"command", "args", "entrypoint"} & set(variables["properties"])


@needs_server
def test_the_kubernetes_pool_asks_for_a_gpu_a_deadline_and_shared_memory(content):
    """The job is placed on a GPU node and gets /dev/shm and the data volume."""
    made = resolved("kubernetes", content["deployments"][0]["work_pool"]["job_variables"])
    job = made.job_manifest["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert job["activeDeadlineSeconds"] == 21600
    assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/dev/shm", "/data"}  # noqa: S108
    assert {volume["name"] for volume in pod["volumes"]} == {"shm", "data"}
    assert pod["securityContext"]["runAsNonRoot"] is True


@needs_server
def test_the_process_pool_gives_runs_their_environment(content):
    """The heartbeat that the automation waits for is switched on."""
    made = resolved("process", content["deployments"][0]["work_pool"]["job_variables"])
    assert made.env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    assert made.working_dir is None
    # One process per run: without a command the worker starts two more to prepare a workspace that nobody needs.
    assert made.command == "python -m prefect.engine"


def test_the_window_of_the_zombie_automation_holds_three_heartbeats(content):
    """One lost heartbeat does not kill a run."""
    from flows.prefect_server.provision import HEARTBEAT_WINDOW

    frequency = int(content["deployments"][0]["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
    assert HEARTBEAT_WINDOW.total_seconds() == 3 * frequency


@pytest.mark.prefect
def test_a_real_server_takes_pools_deployments_and_automations_twice(prefect_server):
    """What `up` does on a server that is new, and on one that is not; nothing is there twice."""
    from prefect.client.orchestration import get_client

    from flows.prefect_server.provision import POOLS, create_automations, create_pools, deploy

    async def without_pools() -> None:
        """Make the session's server new in this respect: other tests leave pools on it."""
        async with get_client() as client:
            for pool in await client.read_work_pools():
                if pool.name in POOLS:
                    await client.delete_work_pool(pool.name)

    asyncio.run(without_pools())
    assert asyncio.run(create_pools()) == list(POOLS)
    deploy()
    names = create_automations()
    assert asyncio.run(create_pools()) == []
    assert create_automations() == names
    with get_client(sync_client=True) as client:
        for name in names:
            assert len(client.read_automations_by_name(name)) == 1
        deployments = {d.name: d for d in client.read_deployments()}
        assert deployments["annotate-video"].work_pool_name == "gpu"
        assert deployments["annotate-video"].pull_steps == []
        assert deployments["annotate-dataset"].parameters == {"mode": "pool"}
        assert [schedule.active for schedule in deployments["annotate-dataset"].schedules] == [False]
        schema = deployments["annotate-dataset"].parameter_openapi_schema
        assert schema["definitions"]["Mode"]["enum"] == ["single", "parallel", "demo", "pool"]


@pytest.mark.prefect
def test_a_parameter_out_of_range_is_refused_by_the_server(prefect_server):
    """The form of the UI says so, and the API as well."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    from flows.prefect_server.provision import create_pools, deploy

    asyncio.run(create_pools())
    deploy()
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("annotate-dataset/annotate-dataset")
        with pytest.raises(PrefectHTTPStatusError, match="500 is greater than the maximum of 200"):
            client.create_flow_run_from_deployment(
                deployment.id, parameters={"input": "/a", "output_root": "/b", "in_flight": 500}
            )


@pytest.mark.prefect
@pytest.mark.parametrize("kind", POOL_TYPES)
def test_a_real_server_takes_the_pool_templates(prefect_server, kind):
    """As `prefect work-pool create --base-job-template` sends them."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    template = json.loads((ROOT / f"deployments/pool-{kind}.json").read_text(encoding="utf-8"))

    async def create() -> Any:
        """Create the pool and read it back."""
        async with get_client() as client:
            await client.create_work_pool(
                WorkPoolCreate(name=f"template-{kind}", type=kind, base_job_template=template)
            )
            return await client.read_work_pool(f"template-{kind}")

    assert asyncio.run(create()).base_job_template == template
