"""The manifests are valid, agree with the service and with each other, and keep what they promise."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from rbr_service.app import create_app
from rbr_service.build import make_scorer
from rbr_service.metrics import Metrics
from rbr_service.server import HANDSHAKE, SILENCE
from rbr_service.settings import Settings, load
from rbr_service.state import State

from .manifests import FOLDER, Manifests, Object, container, copied, kustomize, pod

OVERLAYS = ("base", "gpu")
VERSIONS = ("1.30", "1.37")  # of Kubernetes: the oldest with preStop's sleep, and the newest


@pytest.fixture(params=OVERLAYS)
def built(request: pytest.FixtureRequest, tmp_path: Path) -> Manifests:
    return Manifests(copied(tmp_path) / request.param)


@pytest.fixture
def service(built: Manifests) -> Object:
    return built.named("Deployment")


@pytest.fixture
def settings(built: Manifests, service: Object, tmp_path: Path) -> Settings:
    """As a pod's process reads them."""
    arguments = container(service)["args"]
    for name, content in built.config["data"].items():
        (tmp_path / name).write_text(content)
    mounted = Path(arguments[arguments.index("--config") + 1])
    assert {"name": "config", "mountPath": str(mounted.parent), "readOnly": True} in container(service)[
        "volumeMounts"
    ]
    environ = {variable["name"]: "a-key-of-this-test" for variable in container(service)["env"]}
    return load({"host": "0.0.0.0", "port": 8000}, tmp_path / mounted.name, environ)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(built: Manifests, version: str) -> None:
    assert len({(o["kind"], o["metadata"]["name"]) for o in built.objects}) == len(built.objects) >= 7
    for described in built.objects:
        kubernetes_validate.validate(described, version, strict=True)


def test_a_misspelt_field_is_not_valid(built: Manifests, service: Object) -> None:
    container(service)["redinessProbe"] = container(service).pop("readinessProbe")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, VERSIONS[-1], strict=True)


def test_the_service_starts_with_its_settings(settings: Settings, service: Object) -> None:
    arguments = container(service)["args"]
    assert arguments[:5] == ["serve", "--host", "0.0.0.0", "--port", "8000"]
    assert container(service)["ports"] == [{"name": "http", "containerPort": settings.port}]
    assert settings.api_key
    if settings.grader == "lexical":
        make_scorer(settings, Metrics())


def test_no_score_is_dropped_by_a_rolling_update(settings: Settings, service: Object) -> None:
    assert service["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    grace = pod(service)["terminationGracePeriodSeconds"]
    before = container(service)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert grace == 190
    assert settings.grader_deadline <= settings.shutdown_grace
    assert before + HANDSHAKE + SILENCE + settings.shutdown_grace <= grace


def test_a_pod_may_take_as_long_to_start_as_the_service_waits(settings: Settings, service: Object) -> None:
    probe = container(service)["startupProbe"]
    patience = probe["periodSeconds"] * probe["failureThreshold"]
    assert settings.grader_start < patience < service["spec"]["progressDeadlineSeconds"]


def test_probes_ask_what_the_service_answers(service: Object) -> None:
    metrics = Metrics()
    app = create_app(State(Settings(), metrics, make_scorer(Settings(), metrics)))
    asked = {
        name: container(service)[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")
    }
    assert {get["path"] for get in asked.values()} <= app.openapi()["paths"].keys()
    assert {get["port"] for get in asked.values()} == {"http"}
    # an outage of the grader is every pod's: none may leave the Service for it
    assert asked["readiness"]["path"] == "/healthz"


def test_the_autoscaler_asks_for_a_metric_that_is_there(
    built: Manifests, service: Object, settings: Settings
) -> None:
    scaler = built.named("HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == service["metadata"]["name"]
    assert "replicas" not in service["spec"]
    (metric,) = [entry["pods"] for entry in scaler["metrics"]]
    (rule,) = yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    name = metric["metric"]["name"]
    assert rule["name"]["as"] == name
    assert rule["seriesQuery"].startswith(f"{name}{{")
    assert Metrics().registry.get_sample_value(name) == 0
    assert metric["target"] == {"type": "AverageValue", "averageValue": str(settings.grader_concurrency)}


def test_selectors_find_the_pods(built: Manifests, service: Object) -> None:
    labels = service["spec"]["template"]["metadata"]["labels"]
    for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
        spec = built.named(kind)["spec"]
        selector = spec.get("podSelector") or spec["selector"]
        assert selector.get("matchLabels", selector).items() <= labels.items()
    (port,) = built.named("Service")["spec"]["ports"]
    assert port["targetPort"] in {named["name"] for named in container(service)["ports"]}
    assert built.named("PodDisruptionBudget")["spec"]["maxUnavailable"] == 1


def test_nobody_reaches_a_pod_but_through_its_port(built: Manifests) -> None:
    for deployment in built.deployments():
        policy = built.named("NetworkPolicy", deployment["metadata"]["name"])["spec"]
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        (rule,) = policy["ingress"]
        assert rule["ports"] == [{"protocol": "TCP", "port": "http"}]
        assert all("podSelector" in peer or "namespaceSelector" in peer for peer in rule["from"])


def test_pods_have_no_rights(built: Manifests) -> None:
    """What the Pod Security Standard `restricted` asks for, and more."""
    assert built.named("ServiceAccount")["automountServiceAccountToken"] is False
    for deployment in built.deployments():
        spec, only = pod(deployment), container(deployment)
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert only["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= only["resources"]["requests"].keys()
        assert "memory" in only["resources"]["limits"]
        assert not any("hostPath" in volume for volume in spec["volumes"])


def test_the_key_comes_from_a_secret_that_has_to_be_there(built: Manifests, service: Object) -> None:
    (key,) = container(service)["env"]
    assert key == {"name": "RBR_API_KEY", "valueFrom": {"secretKeyRef": {"name": "rbr", "key": "api-key"}}}
    assert "Secret" not in {o["kind"] for o in built.objects}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_another_policy_is_a_rolling_update(tmp_path: Path, overlay: str) -> None:
    def mounted() -> Any:
        (volume,) = [
            v for v in pod(Manifests(folder).named("Deployment"))["volumes"] if v["name"] == "config"
        ]
        return volume["configMap"]["name"]

    folder = copied(tmp_path) / overlay
    first = mounted()
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("policy: safety", "policy: assistant_style"))
    assert first.startswith("rbr-")
    assert mounted() != first


def test_a_model_without_weights_is_not_deployed(tmp_path: Path) -> None:
    folder = copied(tmp_path) / "gpu"
    (folder / "weights.json").unlink()
    refused = kustomize(folder)
    assert refused.returncode != 0
    assert "weights.json" in refused.stderr


def test_the_service_asks_the_model_that_the_server_serves(tmp_path: Path) -> None:
    built = Manifests(copied(tmp_path) / "gpu")
    server = built.named("Deployment", "rbr-vllm")
    config = yaml.safe_load(built.config["data"]["config.yaml"])
    assert container(server)["args"] == [
        f"--model={config['grader_model']}",
        f"--revision={config['grader_revision']}",
        f"--dtype={config['grader_precision']}",
        f"--max-model-len={config['grader_context']}",
        "--port=8000",
    ]
    assert config["grader_url"] == "http://rbr-vllm:8000"
    assert built.named("Service", "rbr-vllm")["spec"]["ports"][0]["port"] == 8000
    (_, to_server, _) = built.named("NetworkPolicy")["spec"]["egress"]
    (peer,) = to_server["to"]
    assert (
        peer["podSelector"]["matchLabels"].items() <= server["spec"]["template"]["metadata"]["labels"].items()
    )
