"""The volume `policies` of a provider's bundle: which policies and clients are attached to it, and their ConfigMaps."""
