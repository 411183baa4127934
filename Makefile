# Everything that people and CI do with this repository. Needs Go, git and make;
# what else a target needs is installed into .tmp/bin, at the versions below.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules --no-print-directory

BUF_VERSION ?= v1.75.0
GOLANGCI_LINT_VERSION ?= v2.15.0
GOVULNCHECK_VERSION ?= v1.9.0

GO ?= go
PREFIX ?= $(HOME)/.local
# The driver that `make conformance` looks at: a name, or the path of a binary.
DRIVER ?= host
# An image of the engine for `make bench`, which otherwise leaves containers out.
BENCH_IMAGE ?=
# The Debian whose engine `make test-engine` uses.
SUITE ?= trixie
# What `make test` runs; a package pattern.
PKG ?= ./...

TOOLS := .tmp/bin
BUF := $(TOOLS)/buf-$(BUF_VERSION)
GOLANGCI_LINT := $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION)
GOVULNCHECK := $(TOOLS)/govulncheck-$(GOVULNCHECK_VERSION)
EXAMPLES := examples/driver-hello examples/hello-web
GENERATED := sdk/internal/driverpb core/api/apipb core/guest/frame/internal/guestpb

.PHONY: help
help: ## Show what there is
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

HELPER := core/guest/helper/bin/sero-guest

.PHONY: helper
helper: ## Build the guest helper, which is carried in sero and runs in sandboxes
	@for arch in amd64 arm64; do \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -buildid=' -o .tmp/sero-guest-$$arch ./cmd/sero-guest; \
		gzip -9 -n -c .tmp/sero-guest-$$arch > .tmp/sero-guest-$$arch.gz; \
		cmp -s .tmp/sero-guest-$$arch.gz $(HELPER)-$$arch.gz || mv .tmp/sero-guest-$$arch.gz $(HELPER)-$$arch.gz; \
	done

PACKED := cmd/sero/internal/packed/bin

# The command line alone, which starts fast, carries the whole program (ADR 0009).
# Whatever goes without cgo is built with -trimpath, like the helper: then it is
# compiled once.
.PHONY: build
build: helper ## Build bin/sero
	@mkdir -p bin .tmp
	$(GO) build -ldflags '-s -w' -o .tmp/sero ./cmd/sero
	@id=$$($(GO) tool buildid .tmp/sero); id=sero-$${id##*/}; \
	if [ ! -e "$(PACKED)/$$id.gz" ] || [ ! -e "$(PACKED)/$$id.sum" ]; then \
		rm -f $(PACKED)/*.gz $(PACKED)/*.sum; \
		gzip -n -c .tmp/sero > .tmp/sero.gz; \
		sum=$$(openssl dgst -sha256 -r .tmp/sero 2>/dev/null || sha256sum .tmp/sero 2>/dev/null || shasum -a 256 .tmp/sero); \
		echo "$${sum%% *}" > "$(PACKED)/$$id.sum"; \
		mv .tmp/sero.gz "$(PACKED)/$$id.gz"; \
	fi
	CGO_ENABLED=0 $(GO) build -trimpath -tags packed -o bin/sero ./cmd/sero

.PHONY: demo
demo: ## Show the main job on a small web server, in the best driver of this machine (SERO_DEMO_DRIVER=host)
	@bash scripts/demo.sh

.PHONY: test
test: helper ## Run every test that this machine can run (PKG=./core/...; SERO_TEST_REQUIRE=race,... makes skips fail)
	@$(GO) run ./scripts/testall $(PKG)

.PHONY: test-engine
test-engine: helper ## Run the docker driver's tests on another Debian's Docker Engine (SUITE=trixie); needs root
	@CGO_ENABLED=0 bash scripts/debian-engine.sh "$(SUITE)" $(GO) test -count=1 ./plugins/docker ./test/lifecycle

.PHONY: bench
bench: build ## Run the benchmarks; those of containers need an engine
	$(GO) test -run '^$$' -bench . -benchmem ./...
	$(GO) run ./test/bench -image "$(BENCH_IMAGE)" bin/sero

.PHONY: conformance
conformance: build ## Hold one driver to the contract (DRIVER=host, or the path of a binary)
	bin/sero driver test "$(DRIVER)"

.PHONY: check
check: lint arch proto-lint proto-breaking generated darwin test ## All that must pass before a commit

.PHONY: arch
arch: ## Check the rules of the house: imports, sizes, docs
	$(GO) test -count=1 .

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Run the linters and check the formatting
	$(GOLANGCI_LINT) fmt --diff
	$(GOLANGCI_LINT) run
	$(GOLANGCI_LINT) run --build-tags packed ./cmd/sero
	@for module in $(EXAMPLES); do echo "$$module"; (cd $$module && "$(CURDIR)/$(GOLANGCI_LINT)" run); done

.PHONY: fmt
fmt: $(GOLANGCI_LINT) $(BUF) ## Format Go and proto files
	$(GOLANGCI_LINT) fmt
	$(BUF) format -w

.PHONY: generate
generate: $(BUF) ## Generate Go from the proto files
	$(BUF) generate --template buf.gen.driver.yaml
	$(BUF) generate --template buf.gen.api.yaml
	$(BUF) generate --template buf.gen.guest.yaml

.PHONY: generated
generated: generate ## Fail if the generated code is not what the proto files say
	@git diff --exit-code -- $(GENERATED) || { echo "run make generate and commit $(GENERATED)" >&2; exit 1; }
	@untracked=$$(git ls-files --others --exclude-standard -- $(GENERATED)); \
		[ -z "$$untracked" ] || { echo "not committed: $$untracked" >&2; exit 1; }

.PHONY: proto-lint
proto-lint: $(BUF) ## Lint the proto files and check their formatting
	$(BUF) lint
	$(BUF) format --diff --exit-code

.PHONY: proto-breaking
proto-breaking: $(BUF) ## Fail if a proto change would break older drivers or clients
	$(BUF) breaking --against proto/baseline.binpb

.PHONY: proto-baseline
proto-baseline: $(BUF) ## Make the present proto files what later changes are compared with
	$(BUF) build --exclude-source-info -o proto/baseline.binpb

.PHONY: vuln
vuln: $(GOVULNCHECK) ## Look for known vulnerabilities in what the code calls
	$(GOVULNCHECK) ./...

.PHONY: darwin
darwin: ## Build and vet for macOS on Apple silicon, tests included
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) build ./...
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) vet ./...
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) vet -tags packed ./cmd/sero
	@for module in $(EXAMPLES); do echo "$$module"; (cd $$module && GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) vet .); done

.PHONY: install
install: build ## Install sero into PREFIX/bin (~/.local/bin)
	@mkdir -p "$(PREFIX)/bin"
	install -m 755 bin/sero "$(PREFIX)/bin/sero"

.PHONY: clean
clean: ## Remove what was built and the tools
	rm -rf bin .tmp

# A tool's file carries its version: another version is another file.
$(BUF):
	$(call install-tool,buf,github.com/bufbuild/buf/cmd/buf@$(BUF_VERSION))

$(GOLANGCI_LINT):
	$(call install-tool,golangci-lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION))

$(GOVULNCHECK):
	$(call install-tool,govulncheck,golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION))

define install-tool
@mkdir -p $(TOOLS)
@echo "installing $(2)"
@GOBIN="$(CURDIR)/$(TOOLS)" $(GO) install $(2)
@ln -f $(TOOLS)/$(1) $@
endef
