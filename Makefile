# The few commands that matter. `make help` lists them.
#
# Everything is built from what is installed and what Cargo.lock names.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
BIN := $(TARGET)/release

# All of them, so that what the suites have in common is compiled once.
SUITES := --workspace --locked --features peers,long,static

.PHONY: help build build-installer static dist dist-quick reproduce demo test test-peers test-long test-static test-costs lint bench bench-server fuzz

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 17

build: ## the programs, optimised, in target/release; BRAND=nx under other names, in target/brand/nx
	@scripts/prerequisites build
ifdef BRAND
	scripts/branded
else
	$(CARGO) build --release --locked --workspace --exclude dbt-bench --bins
endif

build-installer: ## an organisation's installers; SERVER_URL=https://dbt.example.com, and what docs/installing.md lists
	@scripts/prerequisites build
	scripts/build-installer

static: ## the programs as they are released, for Linux on amd64 and arm64; scripts/install-cross first
	@scripts/prerequisites cross
	scripts/static linux/amd64 linux/arm64
	PROGRAMS=reposerver scripts/static linux/amd64 linux/arm64

dist: ## the files of a release for Linux, macOS and Windows, in target/releases; SIGNER=file:KEY signs
	@scripts/prerequisites cross dist
	scripts/dist

dist-quick: ## the same for this processor alone, with less optimisation, and whether two builds are the same
	@scripts/prerequisites cross dist
	PROFILE=dist-quick scripts/dist linux/amd64
	PROFILE=dist-quick PROGRAMS="dbt publisher" scripts/reproduce linux/amd64

reproduce: ## dbt for Linux on amd64, as it is released, built in two places and compared; scripts/install-cross first
	@scripts/prerequisites cross
	scripts/static linux/amd64
	scripts/reproduce linux/amd64

demo: ## a repository, a publisher, an installer and a client here, in about a minute and a build
	@scripts/prerequisites build
	scripts/demo

test: ## every test that needs nothing but this machine, and a look for secrets in what they leave
	@scripts/prerequisites test
	scripts/test $(CARGO) test --workspace --locked

test-peers: ## tests against real servers and tools; scripts/install-peers first
	@scripts/prerequisites peers
	$(CARGO) build $(SUITES) --bins --example dbt_next
	scripts/test $(CARGO) test $(SUITES) --test peers

test-long: ## faults at every step, races, 10 GiB through the server; minutes, and 15 GB of disk
	@scripts/prerequisites long
	$(CARGO) build $(SUITES) --bins --example dbt_next
	scripts/test $(CARGO) test $(SUITES) --test long

test-static: ## tests and counts of what `make static` builds, as root; scripts/install-kernel first
	@scripts/prerequisites cross static
	scripts/static linux/amd64
	PROGRAMS=reposerver scripts/static linux/amd64
	PROFILE=dist-quick scripts/static linux/arm64
	PROFILE=dist-quick PROGRAMS=reposerver scripts/static linux/arm64
	PROFILE=dist-quick PROGRAMS="dbt catalog publisher dbt-installer dbt-sys/become dbt-cli/dbt_next" scripts/static windows/amd64
	BRAND=crates/dbt-cli/tests/static/nx.brand PROFILE=dev MANUALS=yes scripts/branded
	$(CARGO) build $(SUITES) --bins
	scripts/test $(CARGO) test $(SUITES) --test static
	"$(TARGET)/debug/dbt-bench" --dbt target/static/linux-amd64/dbt $(or $(COSTS),--check) benches/limits.json

bench: build ## what dbt costs, in ratios; scripts/install-bench first; BENCH="--only P1 --quick"
	@scripts/prerequisites bench
	$(CARGO) build --release --locked --package dbt-bench
	"$(BIN)/dbt-bench" $(BENCH)

bench-server: build ## what the server costs beside nginx and dufs; scripts/install-bench first; BENCH="--only S1"
	@scripts/prerequisites bench
	$(CARGO) build --release --locked --package dbt-bench
	"$(BIN)/bench-server" $(BENCH)

test-costs: build ## counts that may not grow unnoticed: system calls, instructions, memory, size
	@scripts/prerequisites costs
	$(CARGO) build --release --locked --package dbt-bench
	"$(BIN)/dbt-bench" --dbt "$(BIN)/dbt" $(or $(COSTS),--check) benches/limits.json

fuzz: ## each fuzz target for SECONDS (30), on two cores in about four minutes and a build
	@scripts/prerequisites fuzz
	scripts/fuzz $(or $(SECONDS),30)

lint: ## formatting, lock files, clippy, licences and sources of dependencies
	@scripts/prerequisites lint
	$(CARGO) fmt --all --check
	$(CARGO) metadata --locked --offline --format-version 1 --manifest-path fuzz/Cargo.toml > /dev/null
	$(CARGO) clippy --workspace --all-targets --all-features --locked -- -D warnings
	$(CARGO) deny --offline check --hide-inclusion-graph licenses bans sources
