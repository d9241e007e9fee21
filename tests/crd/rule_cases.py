"""Every rule of the CRDs, with an object that keeps it and one that breaks it."""

from __future__ import annotations

from crd import provider_cases, tenant_cases
from crd.cases import Case

CASES: tuple[Case, ...] = (*provider_cases.CASES, *tenant_cases.CASES)
