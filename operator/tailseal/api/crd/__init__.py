"""CRDs from the models: the one way from pydantic to what the API server installs."""
