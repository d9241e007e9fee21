"""Tailseal: trust as a Kubernetes resource."""
