# One obvious command each. Everything is installed into .venv and into the user's cache directory; nothing else is touched.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CLUSTER ?= local
IMAGE  ?= tailseal:dev
KEEP   ?=

.DEFAULT_GOAL := help
.PHONY: help quickstart demo fleet tailnet test e2e gitops image bench revocation fuzz lint crds krew lock clean

help: ## show this list
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/\1@\2/p' $(MAKEFILE_LIST) | while IFS=@ read -r name what; do printf '  make %-11s %s\n' "$$name" "$$what"; done

# The stamps make an environment follow its lock file; uv itself comes from the registry, by pip.
$(BIN)/uv:
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet 'uv>=0.9,<1'

$(VENV)/runtime.stamp: requirements/runtime.txt pyproject.toml | $(BIN)/uv
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/runtime.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/runtime.stamp
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

# Only what an image holds, compiled as in the image: what `make bench` measures.
$(VENV)/shipped.stamp: requirements/runtime.txt pyproject.toml | $(BIN)/uv
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)/shipped
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(VENV)/shipped/bin/python --require-hashes -r requirements/runtime.txt
	@$(BIN)/uv pip install --quiet --python $(VENV)/shipped/bin/python --no-deps -e .
	@touch $@

quickstart: $(VENV)/runtime.stamp ## a token service from a folder of YAML files, no cluster, under a minute
	@PYTHONPATH=dev $(BIN)/python -m tailseal_dev.quickstart

demo: $(VENV)/runtime.stamp ## the whole story on a real control plane (CLUSTER=current IMAGE=…: on your own; KEEP=1: leave it running)
	@PYTHONPATH=dev $(BIN)/python -m tailseal_dev.demo --cluster $(CLUSTER) --image $(IMAGE) $(if $(KEEP),--keep)

fleet: $(VENV)/runtime.stamp ## ten rotations under trouble, every token verified by four caches (needs Node.js; about 15 minutes)
	@PYTHONPATH=dev $(BIN)/python -m tailseal_dev.fleet

tailnet: $(VENV)/runtime.stamp ## a real tailnet with an identity provider in it, told by its nodes, step by step (Linux; under a minute)
	@PYTHONPATH=dev $(BIN)/python -m tailseal_dev.tailnet.story

test: $(VENV)/dev.stamp lint ## everything
	@PYTHONPATH=dev $(BIN)/python -m tailseal_dev.cache kubernetes helm pause coredns headscale tailscale containerboot s3 kubeconform kstatus $(if $(shell command -v redis-server),argocd)
	@$(BIN)/python -m pytest --numprocesses=2

e2e: $(VENV)/dev.stamp ## what needs a real node, at full length: our image, installed by the chart; an hour, then a table (root; or CLUSTER=current IMAGE=…)
	@PYTHONPATH=dev $(BIN)/python -m tailseal_dev.cache kubernetes helm $(if $(filter local,$(CLUSTER)),pause coredns headscale tailscale containerboot s3 buildkitd buildctl)
	@TAILSEAL_NODE_FULL=1 TAILSEAL_CLUSTER=$(CLUSTER) TAILSEAL_IMAGE=$(IMAGE) $(BIN)/python -m pytest tests/node

gitops: $(VENV)/runtime.stamp ## an installation that Argo CD keeps as Git says, step by step (root, redis; or CLUSTER=current IMAGE=…)
	@PYTHONPATH=dev $(BIN)/python -m tailseal_dev.argocd --cluster $(CLUSTER) --image $(IMAGE)

image: $(VENV)/dev.stamp ## the image of the last commit, built without a network by buildah (or BUILDER=buildkit; root); says its size
	@PYTHONPATH=dev $(BIN)/python -m tailseal_dev.realnode.images --tag $(IMAGE) $(if $(BUILDER),--builder $(BUILDER))

bench: $(VENV)/dev.stamp $(VENV)/shipped.stamp ## speed, as ratios measured side by side in one run
	@PYTHONPATH=dev $(BIN)/python -m tailseal_dev.bench --tailseal $(VENV)/shipped/bin/tailseal

revocation: $(VENV)/runtime.stamp ## how long withdrawn trust goes on granting, from a folder and on a control plane, under load
	@PYTHONPATH=dev $(BIN)/python -m tailseal_dev.revocation

# Atheris is no dependency: it comes for this alone, and where there is no wheel of it this says so.
fuzz: $(VENV)/dev.stamp ## a coverage-guided fuzzer at everything that reads what strangers and tenants send (SECONDS=60 for each)
	@test -d $(VENV)/fuzz || $(BIN)/uv pip install --quiet --python $(BIN)/python --only-binary :all: --target $(VENV)/fuzz 'atheris>=3,<4' || rm -rf $(VENV)/fuzz
	@PYTHONPATH=dev:$(VENV)/fuzz $(BIN)/python -m tailseal_dev.fuzz --seconds $(or $(SECONDS),60)

lint: $(VENV)/dev.stamp ## style, types, module map
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy operator dev tests/fakes
	@$(BIN)/lint-imports

crds: $(VENV)/dev.stamp ## write crds/ and the chart's copies anew from the models
	@$(BIN)/python -m tailseal.api.crd crds
	@PYTHONPATH=dev $(BIN)/python -m tailseal_dev.chart

krew: $(VENV)/runtime.stamp ## the kubectl plugin's archive and its manifest for krew, into dist/ (URL=…: where it will be published)
	@PYTHONPATH=dev $(BIN)/python -m tailseal_dev.krew $(if $(URL),--url=$(URL))

lock: $(BIN)/uv ## resolve the dependencies anew
	@$(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' pyproject.toml -o requirements/runtime.txt
	@$(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' pyproject.toml --group dev -c requirements/runtime.txt -o requirements/dev.txt

clean: ## remove the environment (the compiled helpers stay in the user's cache directory)
	@rm -rf $(VENV)
