## make run    install what is missing, build, start a personal node on this machine
## make test   install what is missing, run all tests and the README's sessions
## make lint   formatting, clippy, documentation links, licences and sources of dependencies
## make wasm   check that crypto and protocol build for a browser (wasm32)
## make fuzz   give every decoder hostile bytes for FUZZ_SECONDS each
## make testnet  start six nodes on this machine with docker-compose: see testnet/README.md
## make scenarios  as root: break such a network in many ways, and see what holds
## make bench  measure kernels, the store, whole runs of the binary, sharing, and the network, each with a bound
##
## Settings: PROFILE=dev (make run: builds faster, runs slower), ARGS='--listen 127.0.0.1:9000' (make run: passed to
## the node), FUZZ_SECONDS=60, FUZZ_TARGETS='cbor cid'.

PROFILE ?= release
ARGS ?=
FUZZ_SECONDS ?= 10
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))

BIN := $(CURDIR)/target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
TOOLS := target/tools
export PATH := $(CURDIR)/$(TOOLS)/bin:$(PATH)

.PHONY: help build-needs network-needs run test lint wasm fuzz testnet scenarios bench

help:
	@sed -n 's/^## \{0,1\}//p' Makefile

# RocksDB's bindings are made from its headers with libclang.
build-needs:
	@.ci/install libclang-dev

# Hosts for nodes: containers, or network namespaces with cables that can be slow.
network-needs:
	@.ci/install iproute2 iptables docker.io docker-compose curl python3

run: build-needs
	cargo build --locked --profile $(PROFILE) -p pyrgos
	@printf '%s\n' '' \
	    'Your node is starting. In another terminal:' '' \
	    '    export PATH=$(BIN):$$PATH' \
	    '    pyrgos signup alice           # asks for a password, which never leaves this machine' \
	    '    pyrgos login alice' \
	    '    pyrgos put -r FOLDER /alice   # encrypts and stores' \
	    '    pyrgos ls -l' \
	    '    pyrgos logout' '' \
	    'pyrgos help tells more. Ctrl-C stops the node; what it keeps stays.' ''
	@exec $(BIN)/pyrgos node $(ARGS)

# --show-output: tests of vectors say how many cases of each file they replayed.
test: build-needs
	cargo test --locked --workspace -- --show-output
	.ci/session

# Advisories are not checked here: their database is outside the package registries (see deny.toml).
lint: build-needs $(TOOLS)/installed
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps
	cargo deny --locked check bans licenses sources

wasm:
	.ci/wasm

# The sanitizer needs a compiler flag that stable Rust hides: RUSTC_BOOTSTRAP shows it.
fuzz: export RUSTC_BOOTSTRAP := 1
fuzz: $(TOOLS)/installed fuzz/corpus/seeds
	cargo fuzz build
	@printf '%s\n' $(FUZZ_TARGETS) | xargs -n 1 -P 2 fuzz/run $(FUZZ_SECONDS)

fuzz/corpus/seeds: fuzz/seeds $(wildcard testdata/*)
	@command -v python3 >/dev/null || .ci/install python3
	fuzz/seeds $@
	@touch $@

# As root: containers where a Docker engine runs or can be started, else network namespaces, which is tried out. Where
# neither is to be had it says so and succeeds. The test of the binary is named so that the binary is built, too, as
# `make test` builds it. PYRGOS_SCENARIOS_SECS=N: begin none after so many seconds.
scenarios: build-needs
	@$(MAKE) --no-print-directory network-needs || echo 'What the test network needs cannot be installed; what is here is tried.'
	cargo test --locked --workspace --test scenarios --test binary --no-run
	cargo test --locked --workspace --test scenarios

testnet: build-needs network-needs
	cargo build --locked --profile $(PROFILE) -p pyrgos
	testnet/up $(BIN)/pyrgos

# The last needs root, for network namespaces; without, one line says so.
bench: build-needs
	cargo bench --locked --workspace --benches
	cargo build --locked --release -p pyrgos
	PYRGOS_SLOW_COMMITS=500 PYRGOS_TESTNET=namespaces-first PYRGOS_BINARY=$(CURDIR)/target/release/pyrgos \
	    cargo test --locked --workspace --test scenarios -- slow

$(TOOLS)/installed: .ci/tools.txt
	@command -v pip3 >/dev/null || .ci/install python3-pip
	pip3 install --quiet --root-user-action=ignore --no-deps --require-hashes --upgrade --target $(TOOLS) --requirement .ci/tools.txt \
	    || cargo install --locked --root $(TOOLS) \
	        $$(sed -n 's/^astral-dev-toolchain-\(.*\)==\([^ ]*\).*/\1@\2/p' .ci/tools.txt)
	@touch $@
