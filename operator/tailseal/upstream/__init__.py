"""Upstreams that grant what we cannot sign ourselves: the Tailscale API."""
