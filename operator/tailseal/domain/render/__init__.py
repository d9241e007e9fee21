"""Desired Kubernetes objects as plain dicts, from specs alone."""
