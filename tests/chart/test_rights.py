"""What the chart lets operator and tenants do, asked of the real API server: all that is needed, no more."""

from __future__ import annotations

import pytest

from chart.installed import ACCOUNT, CLIENTS, OPEN, PROVIDERS, Kubectl, eventually
from tailseal_dev import chart
from tailseal_dev.controlplane import ControlPlaneError

pytestmark = [pytest.mark.cluster, pytest.mark.helm, pytest.mark.usefixtures("helm")]


@pytest.mark.parametrize(
    ("verb", "resource", "group", "allowed"),
    [
        ("create", "trustpolicies", "edit", True),
        ("create", "oauthclients", "edit", True),
        ("create", "signingkeys", "edit", False),
        ("create", "identityproviders", "edit", False),
        ("create", "signingkeys", "admin", True),
        ("create", "trustpolicies", "admin", True),
        ("get", "trustpolicies", "view", True),
        ("delete", "trustpolicies", "view", False),
    ],
)
def test_tenants_edit_policies_and_administrators_keys(
    installed: str, kubectl: Kubectl, verb: str, resource: str, group: str, *, allowed: bool
) -> None:
    binding = f"test-{group}"
    flags = (f"--clusterrole={group}", f"--group={binding}", f"--namespace={PROVIDERS}")
    kubectl("create", "rolebinding", binding, *flags, check=False)
    question = ("auth", "can-i", verb, f"{resource}.tailseal.dev", f"--namespace={PROVIDERS}")

    def answer() -> str:
        return kubectl(*question, "--as=somebody", f"--as-group={binding}", check=False).strip()

    eventually(lambda: answer() == ("yes" if allowed else "no"))


RIGHTS = [
    # in a provider namespace whose names are known
    (PROVIDERS, "list secrets", True),
    (PROVIDERS, "patch secrets/corp-signing", True),
    (PROVIDERS, "create secrets/corp-signingkey", True),
    (PROVIDERS, "patch configmaps/corp-policies-63", True),
    (PROVIDERS, "patch deployments.apps/corp-sts", True),
    (PROVIDERS, "patch secrets/other", False),
    (PROVIDERS, "create secrets", False),
    (PROVIDERS, "delete configmaps/kube-root-ca.crt", False),
    (PROVIDERS, "patch configmaps/corp-policies-64", False),
    (PROVIDERS, "patch deployments.apps/other", False),
    (PROVIDERS, "create serviceaccounts/other", False),
    (PROVIDERS, "create serviceaccounts/corp-idp-7", True),
    (PROVIDERS, "update secrets/corp-idp-7-tailnet", True),
    (PROVIDERS, "delete secrets/corp-idp-7-tailnet", False),
    (PROVIDERS, "update secrets/corp-signing", False),
    (PROVIDERS, "patch roles.rbac.authorization.k8s.io/corp-idp-7", True),
    (PROVIDERS, "patch rolebindings.rbac.authorization.k8s.io/corp-idp-7", True),
    (PROVIDERS, "patch rolebindings.rbac.authorization.k8s.io/other", False),
    (PROVIDERS, "bind roles.rbac.authorization.k8s.io/corp-idp-7", False),
    (PROVIDERS, "escalate roles.rbac.authorization.k8s.io/corp-idp-7", False),
    # in one where they are not
    (OPEN, "patch secrets/anything", True),
    (OPEN, "create secrets", True),
    # in either
    (OPEN, "patch pods", True),
    (OPEN, "create pods", False),
    (OPEN, "create pods/exec", False),
    (OPEN, "get pods/log", False),
    (OPEN, "create pods/eviction", False),
    (OPEN, "get pods/proxy", False),
    (OPEN, "update secrets", True),
    (OPEN, "update configmaps", False),
    (OPEN, "deletecollection secrets", False),
    (OPEN, "deletecollection pods", False),
    (OPEN, "create serviceaccounts/token", False),
    (OPEN, "create roles.rbac.authorization.k8s.io", True),
    (OPEN, "create rolebindings.rbac.authorization.k8s.io", True),
    (OPEN, "bind roles.rbac.authorization.k8s.io", False),
    (OPEN, "escalate roles.rbac.authorization.k8s.io", False),
    (OPEN, "create clusterroles.rbac.authorization.k8s.io", False),
    (OPEN, "create clusterrolebindings.rbac.authorization.k8s.io", False),
    (OPEN, "get rolebindings.rbac.authorization.k8s.io/tailseal-operator", True),
    ("default", "get rolebindings.rbac.authorization.k8s.io/tailseal-operator", False),
    (OPEN, "patch identityproviders.tailseal.dev", False),
    (OPEN, "patch signingkeys.tailseal.dev", False),
    (OPEN, "patch identityproviders.tailseal.dev/status", True),
    (OPEN, "create persistentvolumeclaims", True),
    (OPEN, "delete persistentvolumeclaims", False),
    (OPEN, "get leases.coordination.k8s.io", False),
    # where applications have Secrets
    (CLIENTS, "list secrets", True),
    (CLIENTS, "create secrets", True),
    (CLIENTS, "list configmaps", False),
    (CLIENTS, "patch pods", False),
    (CLIENTS, "patch identityproviders.tailseal.dev/status", False),
    # where tenants are
    ("default", "patch oauthclients.tailseal.dev/status", True),
    ("default", "list oauthclients.tailseal.dev", True),
    ("default", "patch oauthclients.tailseal.dev", False),
    ("default", "list trustpolicies.tailseal.dev", True),
    ("default", "patch trustpolicies.tailseal.dev/status", True),
    ("default", "patch trustpolicies.tailseal.dev", False),
    ("default", "get secrets", False),
    ("default", "list configmaps", False),
    ("default", "list pods", False),
    ("default", "patch pods", False),
    ("default", "patch deployments.apps", False),
    ("default", "list identityproviders.tailseal.dev", False),
    # where the operator itself is
    (chart.NAMESPACE, "patch leases.coordination.k8s.io/tailseal-operator", True),
    (chart.NAMESPACE, "patch leases.coordination.k8s.io/other", False),
    (chart.NAMESPACE, "get secrets", False),
    (chart.NAMESPACE, "patch deployments.apps", False),
    # of the cluster
    ("", "list nodes", False),
    ("", "list namespaces", True),
    ("", "watch namespaces", True),
    ("", "get namespaces", False),
    ("", "patch namespaces", False),
    ("", "list secrets", False),
    ("", "impersonate users", False),
    ("", "get customresourcedefinitions.apiextensions.k8s.io", False),
    *[
        ("", f"{verb} {kind}.admissionregistration.k8s.io", False)
        for kind in (
            "validatingadmissionpolicies",
            "validatingadmissionpolicybindings",
            "mutatingwebhookconfigurations",
            "validatingwebhookconfigurations",
        )
        for verb in ("create", "patch")
    ],
]


@pytest.mark.parametrize(("namespace", "asked", "allowed"), RIGHTS, ids=[f"{row[0]} {row[1]}" for row in RIGHTS])
def test_the_operator_may_do_what_it_needs_and_nothing_else(
    installed: str, kubectl: Kubectl, namespace: str, asked: str, *, allowed: bool
) -> None:
    where = f"--namespace={namespace}" if namespace else "--all-namespaces"
    verb, _, what = asked.partition(" ")
    subresource = ()
    if what.endswith(("/status", "/exec", "/log", "/eviction", "/proxy", "/token")):
        what, _, name = what.rpartition("/")
        subresource = (f"--subresource={name}",)
    question = ("auth", "can-i", verb, what, where, *subresource, f"--as={ACCOUNT}")
    asked_as = (*question, f"--as-group=system:serviceaccounts:{chart.NAMESPACE}")
    eventually(lambda: kubectl(*asked_as, check=False).split()[-1:] == (["yes"] if allowed else ["no"]))


def test_a_secret_of_another_name_cannot_be_created_even_by_apply(installed: str, kubectl: Kubectl) -> None:
    def apply(name: str) -> str:
        labels = "{app.kubernetes.io/managed-by: tailseal, tailseal.dev/identity-provider: corp}"
        manifest = f"{{apiVersion: v1, kind: Secret, metadata: {{name: {name}, labels: {labels}}}}}"
        flags = ("apply", "--server-side", "--dry-run=server", "-f", "-", f"--namespace={PROVIDERS}", f"--as={ACCOUNT}")
        try:
            return kubectl(*flags, stdin=manifest)
        except ControlPlaneError as error:
            return str(error)

    assert "serverside-applied" in apply("corp-signing")
    assert 'cannot patch resource "secrets"' in apply("corp-other")
