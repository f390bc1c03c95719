# The two commands are `make run` and `make test`; the rest serves those who change the code.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VERSION := 0.1.0
CACHE ?= $(HOME)/.cache/recpipe
export RECPIPE_CLUSTER_CACHE ?= $(CACHE)/cluster
export RECPIPE_IMAGES_CACHE ?= $(CACHE)/images
export RECPIPE_PULSAR_CACHE ?= $(CACHE)/pulsar
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python

.DEFAULT_GOAL := help
.PHONY: help setup run run-pulsar test cluster lint format bench crds requirements clean e2e images conformance conformance-models

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.installed ## Make the environment in .venv

$(VENV)/.installed: requirements.txt pyproject.toml tools/python-venv tools/tcmalloc
	@tools/python-venv $(PYTHON) $(VENV)
	@$(BIN)/python -m pip install --quiet 'uv>=0.8,<1'
	@$(UV) -r requirements.txt
	@$(UV) --no-deps --no-build-isolation -e .
	@tools/tcmalloc
	@touch $@

run: setup ## Replay MovieLens through a whole pipeline and stay up (ONCE=1: end after it)
	@$(BIN)/python tools/movielens.py $(CACHE)/movielens
	@$(BIN)/recpipe run -f examples/movielens.yaml --home $(CACHE)/run/movielens --fresh \
		--items $(CACHE)/movielens/items.ndjson --users $(CACHE)/movielens/users.ndjson \
		--replay $(CACHE)/movielens/events.jsonl --show 196,22,405 $(if $(ONCE),--once)

run-pulsar: setup ## The same on a real Apache Pulsar, clean and features as its Functions
	@$(BIN)/python tools/movielens.py $(CACHE)/movielens
	@trap 'tools/pulsar down --home $(CACHE)/run/pulsar' EXIT; set -e; \
		eval "$$(tools/pulsar up --home $(CACHE)/run/pulsar)"; \
		$(BIN)/recpipe run -f examples/movielens.yaml --home $(CACHE)/run/movielens-pulsar --fresh --bus pulsar \
		--items $(CACHE)/movielens/items.ndjson --users $(CACHE)/movielens/users.ndjson \
		--replay $(CACHE)/movielens/events.jsonl --show 196,22,405 $(if $(ONCE),--once)

test: setup lint cluster ## Everything that CI runs but the journey on a cluster
	@$(BIN)/pytest -m 'not e2e and not alone' --numprocesses=2 --dist=loadgroup
	@$(BIN)/pytest -m alone

e2e: setup cluster ## The journey on a cluster that runs containers (E2E_CLUSTER=node or kind)
	@$(BIN)/pytest -m e2e -x tests/e2e

images: ## Build every image with Docker; tools/images does without
	@for role in operator gateway learner model-server pulsar; do \
		docker build -q -f images/Dockerfile --build-arg ROLE=$$role -t recpipe/$$role:$(VERSION) . || exit 1; done

conformance: setup ## Ask a server of TensorFlow Serving's API what ours is asked (TFS=host:port, TFS_REST=host:port)
	@TFS=$(TFS) TFS_REST=$(TFS_REST) $(BIN)/pytest tests/integration/serving/test_predict.py \
		tests/integration/serving/test_rest.py tests/integration/serving/test_published_client.py \
		$(if $(TFS),-m "not e2e and not embedded")

conformance-models: setup ## Lay the models of `make conformance` out in DIR, for a server to serve as /models
	@$(BIN)/python tests/integration/serving/conformance.py $(DIR)

cluster: setup ## Compile Kubernetes into the cache (10 minutes, once)
	@tools/cluster build

lint: setup ## Format, lint, types and layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup ## Format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: setup ## Every benchmark, as tables
	@for name in serving recommend freshness ingest state; do $(BIN)/recpipe bench $$name || exit 1; done

crds: setup ## Generate the CRD (crds/ and the chart's copy) and docs/reference.md from the spec
	@$(BIN)/recpipe crd --output crds/recommenderpipelines.recpipe.dev.yaml
	@$(BIN)/recpipe crd --output charts/recpipe/files/crd.yaml
	@$(BIN)/recpipe reference --output docs/reference.md

requirements: setup ## Pin what pyproject.toml asks for
	@$(BIN)/uv pip compile --quiet --extra dev --no-emit-index-url --no-header --output-file requirements.txt pyproject.toml

clean: ## Remove the environment and what runs left here
	rm -rf $(VENV) .recpipe build dist
