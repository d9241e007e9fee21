"""The workers that run from a bundle directory and know nothing of Kubernetes."""
