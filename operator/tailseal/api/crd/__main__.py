"""`python -m tailseal.api.crd DIR`: write the CRDs and their kustomization."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from tailseal.api.crd.definition import custom_resource_definition
from tailseal.api.kinds import KINDS
from tailseal.api.meta import GROUP

_HEADER = "# Made from the models by `make crds`: change those instead.\n"


class _Plain(yaml.SafeDumper):
    """Says every value where it stands: a reader of a CRD expects no anchors."""

    def ignore_aliases(self, _data: object) -> bool:
        """Never an alias."""
        return True


# To helm's reader, which keeps to YAML 1.1, a plain `n` is false: the member of an RSA key would be lost.
_Plain.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^[yYnN]$"), list("yYnN"))


def _yaml(document: dict[str, Any]) -> str:
    return _HEADER + yaml.dump(document, Dumper=_Plain, width=118, allow_unicode=True)


def files() -> dict[str, str]:
    """Content of every file by its name."""
    definitions = {f"{GROUP}_{info.plural}.yaml": _yaml(custom_resource_definition(info)) for info in KINDS.values()}
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(definitions),
    }
    return definitions | {"kustomization.yaml": _yaml(kustomization)}


def main(arguments: list[str]) -> int:
    """Write all files into the one directory named; exit code 2 if there is not exactly one."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m tailseal.api.crd DIR\n")
        return 2
    directory = Path(arguments[0])
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        (directory / name).write_text(content)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
