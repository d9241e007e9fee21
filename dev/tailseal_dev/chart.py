"""`python -m tailseal_dev.chart`: write what is generated for installers.

The chart's copies of the CRDs, the plain bundle rendered from it, and Argo CD's settings with our health checks.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tailseal_dev.cache import BuildError, ensure

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "tailseal"
BUNDLE = ROOT / "deploy" / "operator.yaml"
ARGOCD = ROOT / "deploy" / "argocd"
NAMESPACE = "tailseal-system"
PROVIDERS = "identity"
"""Where the plain bundle looks for providers."""

_HEADER = "# Rendered from charts/tailseal by `make crds`: change that instead.\n"
_OF_HELM = ("# Source:", "helm.sh/chart:", "app.kubernetes.io/managed-by: Helm")
"""Lines that would claim that Helm looks after what kubectl applied."""


class ChartError(Exception):
    """Helm refused: holds what it said."""


def crds() -> dict[Path, str]:
    """The chart's copies of the CRDs: content by path."""
    return {CHART / "files" / "crds" / path.name: path.read_text() for path in sorted(ROOT.glob("crds/tailseal*.yaml"))}


def render(*flags: str, namespace: str = NAMESPACE) -> str:
    """What `helm template` makes of the chart as release `tailseal`.

    Raises:
        BuildError: there is no helm and none can be built.
        ChartError: helm refuses chart or values.
    """
    return helm("template", "tailseal", str(CHART), f"--namespace={namespace}", *flags)


def documents(rendered: str) -> list[dict[str, Any]]:
    """The objects of a rendered chart, read by libyaml: Python alone takes five times as long for so many CRDs."""
    return [document for document in yaml.load_all(rendered, yaml.CSafeLoader) if document]


def helm(*arguments: str) -> str:
    """Run the real helm; what it printed.

    Raises:
        BuildError: there is none and none can be built.
        ChartError: it failed.
    """
    argv: Sequence[str] = [str(ensure("helm") / "helm"), *arguments]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise ChartError(f"{result.stderr.strip()}\n{result.stdout.strip()}".strip())
    return result.stdout


def bundle() -> str:
    """The operator without Helm, for `kubectl apply -k deploy`; the CRDs come from `crds/`."""
    rendered = render("--set=crds.enabled=false", f"--set=providerNamespaces={{{PROVIDERS}}}")
    lines = [line.rstrip() for line in rendered.splitlines() if not line.strip().startswith(_OF_HELM)]
    documents = "\n".join(lines).split("\n---\n")
    kept = [text.strip("\n") for text in documents if any(line and line[0] not in "#-" for line in text.splitlines())]
    return _HEADER + "\n---\n".join(text.removeprefix("---\n") for text in kept) + "\n"


def argocd_settings() -> str:
    """The patch of `argocd-cm` with a health check for each of our kinds."""
    head = "# Made from resource_customizations/ by `make crds`: change that instead.\n"
    head += "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: argocd-cm\n  namespace: argocd\ndata:\n"
    checks = []
    for path in sorted(ARGOCD.glob("resource_customizations/*/*/health.lua")):
        group, kind = path.parts[-3:-1]
        script = textwrap.indent(path.read_text(), "    ")
        checks.append(f"  resource.customizations.health.{group}_{kind}: |\n{script}")
    return head + "".join(checks)


def main() -> int:
    """Write everything that is generated."""
    try:
        for path, content in {**crds(), BUNDLE: bundle(), ARGOCD / "argocd-cm.yaml": argocd_settings()}.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    except (BuildError, ChartError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
