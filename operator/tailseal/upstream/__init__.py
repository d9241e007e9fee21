"""Upstreams that grant what we cannot sign ourselves: the APIs of Tailscale and headscale."""
