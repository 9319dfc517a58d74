# Everything a developer or operator runs. Needs only make and Python >= 3.11; `make setup` gets the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VENUES ?= sandbox
UP_ARGS ?=
TEST_ARGS ?= -n 2
BENCH_ARGS ?=
CLIENTS_ARGS ?=
READY := $(VENV)/.ready

.PHONY: up test check bench setup gen clients format lock clean

up: setup  ## run the whole mesh on this machine
	@$(BIN)/trinity up --venues $(VENUES) $(UP_ARGS)

test: setup  ## run every test
	@$(BIN)/python -m pytest $(TEST_ARGS)

check: setup  ## format, lint, types, import contracts, contracts, generated code, deployment files
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@PYTHONPATH=gen:mesh:services:gateway:feeds:cli $(BIN)/lint-imports --no-cache
	@$(BIN)/python scripts/generate.py --check
	@$(BIN)/python scripts/settings_page.py --check
	@$(BIN)/python scripts/edge_file.py --check
	@$(BIN)/python scripts/performance_page.py --check
	@$(BIN)/python benchmarks/capacity.py --check
	@$(BIN)/hadolint deploy/Dockerfile
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml
	@$(BIN)/cfn-lint deploy/aws/trinity.yaml
	@$(BIN)/buf lint
	@$(BIN)/buf format --diff --exit-code protos
	@$(BIN)/buf breaking protos --against tests/contract/last_release.binpb

bench: setup  ## the side-by-side benchmarks; installs the peers they measure, and names those it cannot
	@$(BIN)/python -m pip -q --disable-pip-version-check install --require-hashes -r benchmarks/requirements.lock || echo "bench: some peers are missing"
	@$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

setup: $(READY)  ## make .venv with everything in requirements.lock

$(READY): requirements.lock pyproject.toml scripts/setup.py
	@$(PYTHON) scripts/setup.py --venv $(VENV) --ready $(READY)

gen: setup  ## make gen/ from protos/, docs/configuration.md from the settings, deploy/envoy from the edge's code
	@$(BIN)/buf format -w protos
	@$(BIN)/python scripts/generate.py
	@$(BIN)/python scripts/settings_page.py
	@$(BIN)/python scripts/edge_file.py

clients: setup  ## make, compile and run the examples of other languages; names those it lacks the tools of
	@$(BIN)/python scripts/try_clients.py $(CLIENTS_ARGS)

format: setup  ## format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock:  ## renew requirements.lock, and those of deploy/ and benchmarks/requirements.lock (needs uv)
	@uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade -q -o requirements.lock
	@uv pip compile pyproject.toml -c requirements.lock --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -q -o deploy/requirements.lock
	@echo hatchling | uv pip compile - -c requirements.lock --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -q -o deploy/build.lock
	@uv pip compile pyproject.toml --group bench -c requirements.lock --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade -q -o benchmarks/requirements.lock

clean:
	@rm -rf $(VENV) .proto-include .mypy_cache .ruff_cache dist
