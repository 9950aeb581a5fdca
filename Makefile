# The few commands that matter. `make help` lists them.
#
# Everything is built from what is installed and what Cargo.lock names.
# BIN is where the built programs are; scripts/demo and scripts/bench read it.

CARGO ?= cargo
export BIN := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/release

.PHONY: help build demo test test-peers test-long lint bench

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

build: ## the programs, optimised, in target/release
	@scripts/prerequisites build
	$(CARGO) build --release --locked --workspace --bins

demo: build ## a repository, a publisher and a client on this machine, in about a minute
	scripts/demo

test: ## every test that needs nothing but this machine
	@scripts/prerequisites test
	$(CARGO) test --workspace --locked

test-peers: ## tests against real servers and tools; scripts/install-peers first
	@scripts/prerequisites peers
	$(CARGO) build --workspace --locked --features peers --bins --example dbt_next
	$(CARGO) test --workspace --locked --features peers --test peers

test-long: ## faults at every step, and races of many rounds; takes minutes
	@scripts/prerequisites long
	$(CARGO) build --workspace --locked --features long --bins --example dbt_next
	$(CARGO) test --workspace --locked --features long --test long

bench: build ## what dbt adds to starting a tool, beside a shell script that verifies the same
	@scripts/prerequisites test
	scripts/bench

lint: ## formatting, clippy, licences and sources of dependencies
	@scripts/prerequisites lint
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --all-features --locked -- -D warnings
	$(CARGO) deny --offline check --hide-inclusion-graph licenses bans sources
