"""What `kubectl apply -k` would send: objects by kind and name."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parents[2] / "deploy/k8s"
KUBECTL = Path(sys.executable).with_name("kubectl")

Object = dict[str, Any]


def copied(place: Path) -> Path:
    """The manifests in a folder of their own, with weights as a user would put them there."""
    folder = shutil.copytree(FOLDER, place / "k8s")
    (folder / "gpu/weights.json").write_text("{}")
    return folder


def kustomize(folder: Path) -> subprocess.CompletedProcess[str]:
    """The command's end."""
    return subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True)


class Manifests:
    """One overlay, built."""

    def __init__(self, folder: Path) -> None:
        """Fails where it cannot be built."""
        built = kustomize(folder)
        assert built.returncode == 0, built.stderr
        self.objects: list[Object] = list(yaml.safe_load_all(built.stdout))

    def named(self, kind: str, name: str = "rbr") -> Object:
        """The one object of that kind and name."""
        (found,) = [o for o in self.objects if o["kind"] == kind and o["metadata"]["name"] == name]
        return found

    @property
    def config(self) -> Object:
        """The service's ConfigMap; its name ends in a hash."""
        (found,) = [o for o in self.objects if o["kind"] == "ConfigMap"]
        return found

    def deployments(self) -> list[Object]:
        """All of them."""
        return [o for o in self.objects if o["kind"] == "Deployment"]


def pod(deployment: Object) -> Object:
    """The spec of its pods."""
    spec: Object = deployment["spec"]["template"]["spec"]
    return spec


def container(deployment: Object) -> Object:
    """Its pods' only container."""
    (only,) = pod(deployment)["containers"]
    found: Object = only
    return found
