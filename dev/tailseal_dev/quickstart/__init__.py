"""The story of Tailseal in a minute: a folder of YAML files, a foreign token, a policy, a token of ours."""
