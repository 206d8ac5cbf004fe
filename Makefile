# Everything a developer does with this repository. `make` alone lists it.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

BIN := $(CURDIR)/.bin
export PATH := $(BIN):$(PATH)

VERSION ?= $(shell git describe --tags --match 'v*' --dirty 2>/dev/null | sed 's/^v//' || true)
ifeq ($(strip $(VERSION)),)
VERSION := 0.1.0-dev
endif

# Programs and where they are built from.
PROGRAMS := gestor-server gestor-agent gestor gestor-runner-static gestor-runner-node
gestor-server := ./server/cmd/gestor-server
gestor-agent := ./agent/cmd/gestor-agent
gestor := ./cli/cmd/gestor
gestor-runner-static := ./plugins/cmd/gestor-runner-static
gestor-runner-node := ./plugins/cmd/gestor-runner-node

GOFLAGS_BUILD := -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)"
SCRIPTS := $(wildcard scripts/*.sh e2e/bench/*.sh) .ci/run
HAND_WRITTEN = $$(git ls-files --cached --others --exclude-standard '*.go' ':!proto/gen')

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## Install the system packages that build, tests and demo need (Debian, Ubuntu)
	@scripts/setup.sh

.PHONY: tools
tools: ## Install the pinned development tools into .bin/
	@scripts/tools.sh

.PHONY: build
build: $(addprefix build-,$(PROGRAMS)) ## Build all programs into bin/

.PHONY: $(addprefix build-,$(PROGRAMS))
$(addprefix build-,$(PROGRAMS)): build-%:
	CGO_ENABLED=0 go build $(GOFLAGS_BUILD) -o bin/$* $($*)

# The agent makes users and confines builds, so its tests and the demo need root.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo -E env "PATH=$(PATH)")

.PHONY: test
test: deps ## Run every test, the scenarios on the real programs included
	$(AS_ROOT) go test -timeout 10m ./proto/... ./plugins/... ./cli/... ./agent/... ./server/...
	$(AS_ROOT) go test -tags gestor_next ./server/internal/fsm/... ./server/internal/command/...
	$(AS_ROOT) go test -timeout 14m ./e2e/...

.PHONY: test-unit
test-unit: ## Run the tests without the scenarios on the real programs
	$(AS_ROOT) go test ./proto/... ./plugins/... ./cli/... ./agent/... ./server/...
	$(AS_ROOT) go test -tags gestor_next ./server/internal/fsm/... ./server/internal/command/...

.PHONY: test-race
test-race: ## Run the tests under the race detector
	$(AS_ROOT) go test -race -timeout 15m ./proto/... ./plugins/... ./cli/... ./agent/... ./server/... ./e2e/...

.PHONY: soak
soak: deps ## Let three servers suffer at random under a load (GESTOR_SOAK=30m, GESTOR_SEED=n)
	$(AS_ROOT) env GESTOR_SOAK=$(or $(GESTOR_SOAK),30m) GESTOR_SEED=$(GESTOR_SEED) \
		go test -count=1 -timeout 0 -v -run '^TestServers_NothingIsLost' ./e2e

.PHONY: test-upgrade
test-upgrade: deps ## Upgrade a cluster of the git revision FROM to this tree, server by server
	$(AS_ROOT) env GESTOR_UPGRADE_FROM=$(FROM) go test -count=1 -timeout 15m -tags upgrade -v -run '^TestUpgrade_' ./e2e

.PHONY: bench
bench: deps build ## Measure releases, switches, writes, logs and memory, beside plain scripts and ssh
	go build -buildvcs=false -o bin/gestor-bench ./e2e/cmd/bench
	$(AS_ROOT) bin/gestor-bench

.PHONY: bench-go
bench-go: ## Run the Go benchmarks
	$(AS_ROOT) go test -run '^$$' -bench . -benchmem work

.PHONY: demo
demo: deps build ## Run server and agent on this machine and deploy an example
	go build -buildvcs=false -o bin/gestor-demo ./e2e/cmd/demo
	$(AS_ROOT) bin/gestor-demo

.PHONY: gen
gen: tools ## Generate the code of the contract into proto/gen
	buf generate
	buf generate --template buf.gen.runner.yaml

.PHONY: fmt
fmt: tools ## Format all hand-written Go
	gofumpt -w $(HAND_WRITTEN)

.PHONY: check
check: tools check-format check-proto check-scripts check-modules lint test-race ## Everything a change must pass beside `make test`

.PHONY: lint
lint: tools ## Run the linters
	golangci-lint run $$(go list -m -f '{{.Dir}}/...')

.PHONY: check-format
check-format: tools
	@unformatted=$$(gofumpt -l $(HAND_WRITTEN)); \
	if [ -n "$$unformatted" ]; then echo "not formatted (make fmt):"; echo "$$unformatted"; exit 1; fi

.PHONY: check-proto
check-proto: gen
	buf lint
	@changed=$$(git status --porcelain -- proto/gen); \
	if [ -n "$$changed" ]; then echo "generated code is not what the protos say (make gen, then commit):"; echo "$$changed"; exit 1; fi

.PHONY: check-scripts
check-scripts: deps
	shellcheck $(SCRIPTS)

.PHONY: check-modules
check-modules:
	scripts/check-modules.sh

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin dist .demo
