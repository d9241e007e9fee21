"""`tailseal operator`: looks after the objects of our kinds in a cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from pathlib import Path
from typing import Any

import click

from tailseal.cli.errors import FAILED, UNREACHABLE, Failure
from tailseal.cli.options import AddressType, SidecarType, context, kubeconfig, log_level
from tailseal.workers.common.http.address import Address
from tailseal.workers.common.telemetry import logs

_SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@click.command("operator")
@click.option("--namespace", "-n", "namespaces", multiple=True, help="Look after this namespace only; repeatable.")
@click.option(
    "--provider-namespace",
    "provider_namespaces",
    multiple=True,
    help="Look for SigningKeys and IdentityProviders in this namespace only; repeatable.",
)
@click.option(
    "--client-namespace",
    "client_namespaces",
    multiple=True,
    help="With --provider-namespace: keep Secrets of OAuthClients in this namespace, too; repeatable.",
)
@click.option("--all-namespaces", "-A", is_flag=True, help="Look after all namespaces (the default).")
@kubeconfig
@context
@click.option(
    "--worker-image", default="tailseal:dev", envvar="TAILSEAL_WORKER_IMAGE", show_default=True, show_envvar=True
)
@click.option(
    "--tailscale-image",
    default="tailscale/tailscale:v1.102.5",
    envvar="TAILSEAL_TAILSCALE_IMAGE",
    show_default=True,
    help="Image of the nodes beside identity providers that are on a tailnet.",
)
@click.option(
    "--worker-pull-secret",
    "worker_pull_secrets",
    multiple=True,
    metavar="NAME",
    help="Secret for the worker image's registry, in each provider's namespace; repeatable.",
)
@click.option(
    "--worker-priority-class",
    default="",
    metavar="NAME",
    help="PriorityClass of the worker pods; default: the cluster's.",
)
@click.option(
    "--allow-sidecar",
    "sidecars",
    multiple=True,
    type=SidecarType(),
    metavar="NAME=IMAGE-PREFIX",
    help="Container that others may put into workers' Deployments, by its image up to a /, : or @; repeatable.",
)
@click.option("--pod-proxy", is_flag=True, help="Reach worker pods through the API server (pods/proxy).")
@click.option("--leader-elect", is_flag=True, help="Wait for a Lease before acting: for more than one replica.")
@click.option("--lease-namespace", default="", help="Namespace of the Lease; default: the operator's own.")
@click.option("--open-host", "open_hosts", multiple=True, help="Host or CIDR that workers may fetch from; repeatable.")
@click.option(
    "--ambient-credentials",
    multiple=True,
    metavar="NAMESPACE",
    help="Let IdentityProviders of this namespace publish under the operator's own cloud identity; repeatable.",
)
@click.option("--extra-ca", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="PEM file for egress.")
@click.option("--health", type=AddressType(), default="127.0.0.1:8081", show_default=True, help="Health and metrics.")
@log_level
def command(**options: Any) -> None:  # noqa: ANN401 - click's options
    """Look after a cluster's SigningKeys, IdentityProviders, TrustPolicies and OAuthClients."""
    logs.configure(options["log_level"])
    # Kopf repeats whole objects, Secrets among them, at lower levels.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)  # that it leaves signals to us is no news
    if options["namespaces"] and options["all_namespaces"]:
        raise click.UsageError("--namespace and --all-namespaces exclude each other.")
    from tailseal import wiring  # noqa: PLC0415 - help must not wait for kopf and kubernetes
    from tailseal.cluster.errors import ClusterError  # noqa: PLC0415

    settings, policy = _settings(options)
    try:
        asyncio.run(wiring.run(settings, policy, lost=_lost))
    except wiring.StartError as error:
        raise Failure(str(error), exit_code=UNREACHABLE) from error
    except ClusterError as error:
        raise Failure(f"the API server does not give what is needed: {error}", exit_code=UNREACHABLE) from error


def _settings(options: dict[str, Any]) -> tuple[Any, Any]:
    from tailseal.reconcile.context import OperatorSettings  # noqa: PLC0415
    from tailseal.runtime.settings import Settings  # noqa: PLC0415

    health: Address = options["health"]
    settings = Settings(
        namespaces=tuple(dict.fromkeys(options["namespaces"])),
        provider_namespaces=tuple(dict.fromkeys(options["provider_namespaces"])),
        client_namespaces=tuple(
            name for name in dict.fromkeys(options["client_namespaces"]) if name not in options["provider_namespaces"]
        ),
        kubeconfig=options["kubeconfig"],
        context=options["context"],
        pod_proxy=options["pod_proxy"],
        health_host=health.host,
        health_port=health.port,
        leader_elect=options["leader_elect"],
        lease_namespace=options["lease_namespace"] or _own_namespace(),
        identity=os.environ.get("POD_NAME") or f"{socket.gethostname()}-{os.getpid()}",
        in_pod=_SERVICE_ACCOUNT_NAMESPACE.is_file(),
    )
    extra_ca = options["extra_ca"].read_text(encoding="ascii") if options["extra_ca"] else ""
    policy = OperatorSettings(
        worker_image=options["worker_image"],
        worker_pull_secrets=tuple(dict.fromkeys(options["worker_pull_secrets"])),
        worker_priority_class=options["worker_priority_class"],
        tailscale_image=options["tailscale_image"],
        sidecars=tuple(dict.fromkeys(options["sidecars"])),
        open_hosts=tuple(options["open_hosts"]),
        extra_ca=extra_ca,
        ambient_credentials=tuple(options["ambient_credentials"]),
    )
    return settings, policy


def _own_namespace() -> str:
    if _SERVICE_ACCOUNT_NAMESPACE.is_file():
        return _SERVICE_ACCOUNT_NAMESPACE.read_text(encoding="ascii").strip()
    return "default"


def _lost() -> None:
    """Called from the election's thread: nothing may be written any more, so nothing is tidied up either."""
    print("error: the lead was lost", file=sys.stderr, flush=True)
    os._exit(FAILED)
