"""Everything in one process from a folder of YAML files: the same kinds, planners, bundle and endpoints, no cluster."""
