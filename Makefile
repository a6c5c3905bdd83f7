# The front door, for people and for CI. It needs Rust, Python 3 and make; whatever else
# a target needs it installs, pinned, under .venv/ and target/.

SHELL := /bin/bash
PYTHON ?= python3
VENV := $(CURDIR)/.venv
CARGO ?= cargo
# The architecture of the functions on AWS, arm64 or x86_64: as it was answered at the last deployment.
ARCH ?= $(or $(shell sed -n 's/.*Architecture *= *[\\"]*\([a-z0-9_]*\).*/\1/p' samconfig.toml 2>/dev/null | head -n 1),arm64)
CARGO_DENY := 0.20.2
CARGO_FUZZ := 0.13.2
export SAM_CLI_TELEMETRY := 0

.DEFAULT_GOAL := help
.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## /{printf "  make %-19s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

## On this machine

.PHONY: demo test fmt lint invoke large resume bench bench-parts bench-whole cost bench-keep scale scale-model
demo: ## Show the whole system at work, with nothing to install: make demo [STAY=1 to try commands on it]
	$(CARGO) run --locked --features local --bin brigade -- demo $(if $(STAY),--stay)

test: ## Run every test that needs Rust alone
	$(CARGO) test --locked --features local

fmt: ## Format the code
	$(CARGO) fmt

lint: ## Check format and lints, and that the core builds without AWS
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets --features local,yardsticks -- -D warnings
	$(CARGO) clippy --locked --test torture --features local -- -D warnings
	$(CARGO) clippy --locked --lib --no-default-features -- -D warnings

invoke: ## Run the function's binary on a sample event: make invoke EVENT=name (a file of events/)
	@test -f "events/$(EVENT).json" || { echo "EVENT is one of:"; ls events | sed -n 's/\.json$$//p'; exit 2; }
	EVENT="$(EVENT)" $(CARGO) test --locked --features local --test it -- --exact functions::every_sample_event_is_answered --nocapture

large: ## Carry an object of 2 GB (plain), and a JSON document of 500 MB on one line, and see the memory
	BRIGADE_TEST_PLAIN_BYTES=2147483648 $(CARGO) test --locked --features local --test it -- --nocapture functions::o11
	BRIGADE_TEST_DOCUMENT_BYTES=500000000 $(CARGO) test --locked --features local --test it -- --nocapture large_document::

resume: ## Stop an object of 1 GB (plain) at nine tenths, and see how much of it is read again
	BRIGADE_TEST_PLAIN_BYTES=1073741824 $(CARGO) test --locked --features local --test it -- --nocapture resume::resuming

bench: bench-parts bench-whole ## Measure speed, requests, memory and start, beside yardsticks (half an hour)

bench-parts: ## Measure what turning an object into batches costs, beside inflating it
	$(CARGO) bench --locked --no-default-features --bench assemble

# BENCH_ARGS: --quick for a look (2 minutes), --rounds N, --only TEXT for the cases that are named so.
bench-whole: ## Measure the function as a process: make bench-whole [BENCH_ARGS=--quick]
	$(CARGO) build --locked --release --bin ingest
	$(CARGO) build --locked --release --features yardsticks --bin yardstick --bin hello
	# The driver need not be fast, and so it shares what `make test` builds.
	$(CARGO) bench --locked --profile dev --features local --bench whole -- $(BENCH_ARGS)

cost: ## Show what carrying a TB costs, from what `make bench` measured (else from kept figures) and list prices
	$(CARGO) bench --locked --profile dev --no-default-features --bench cost

bench-keep: ## Keep the last figures of `make bench` and `make cost` in the repository
	cp target/bench/whole.json benches/measured.json
	cp target/bench/whole.md docs/benchmarks.md
	cp target/bench/cost.md docs/cost.md

scale: $(VENV)/moto/.done ## Measure what reconcile costs by the number of listed keys
	@$(CARGO) build --quiet --locked --release --features local --example scale
	@$(PYTHON) tests/e2e/with_moto.py $(VENV)/moto -- sh -c 'target/release/examples/scale dynamodb "$$BRIGADE_TEST_ENDPOINT"'

# The reader's own numbers: objects a day, bytes of one as stored, seconds of an invocation,
# passes a day, seconds of a LIST; then what `make scale` prints.
OBJECTS ?= 1000000000
BYTES ?= 100000
SECONDS_EACH ?= 1
PASSES ?= 288
LIST_SECONDS ?= 0.2
ROW_BYTES ?= 500
CPU_US ?= 10
scale-model: ## Say what a number of objects a day takes, and costs: make scale-model OBJECTS=1000000000
	@$(CARGO) run --quiet --locked --features local --example scale -- model $(OBJECTS) $(BYTES) $(SECONDS_EACH) $(PASSES) $(LIST_SECONDS) $(ROW_BYTES) $(CPU_US)

## Before a commit

.PHONY: simulate drill mutants
# As many as CI lives through.
SEEDS ?= 500
simulate: ## Live through many seeds of faults, or tell the story of one: make simulate [SEEDS=500] [SEED=123]
	$(if $(SEED),BRIGADE_TEST_SEED=$(SEED),BRIGADE_TEST_SEEDS=$(SEEDS)) $(CARGO) test --locked --features local --test simulate -- --nocapture whatever_goes_wrong

drill: ## Live through outages of days, of the endpoint and of reconcile, in virtual time
	$(CARGO) test --locked --features local --test simulate -- --nocapture drill::

# Each takes a build of the library.
mutants: ## Show that the simulation notices defects: make mutants [MUTANT_SEEDS=500] [MUTANTS="name ..."]
	CARGO="$(CARGO)" $(PYTHON) tests/simulate/mutants.py --seeds $(or $(MUTANT_SEEDS),500) $(MUTANTS)

.PHONY: check template deny encoders fuzz torture e2e e2e-deployed e2e-moto
check: lint test template ## Everything that must hold before a commit: lint, test, template

template: $(VENV)/sam/.done ## Lint the SAM template
	$(VENV)/sam/bin/cfn-lint template.yaml
	AWS_DEFAULT_REGION=us-east-1 $(VENV)/sam/bin/sam validate --lint

deny: target/tools/bin/cargo-deny ## Check the licences and sources of the dependencies, and bans
	target/tools/bin/cargo-deny check licenses bans sources

# What gzip and pigz write too, where they are installed.
encoders: $(VENV)/encoders/.done ## Hold pass-through to gzip of zlib, zlib-ng, ISA-L, zopfli, Go, and to their decoders
	PATH="$(VENV)/encoders/bin:$$PATH" $(VENV)/encoders/bin/python tests/encoders/encoders.py write target/encoders
	BRIGADE_TEST_ENCODERS=$(CURDIR)/target/encoders $(CARGO) test --locked --features local --test it encoders::
	$(VENV)/encoders/bin/python tests/encoders/encoders.py check target/encoders

# For SECONDS each, with AddressSanitizer, on a nightly compiler. What is found is in fuzz/artifacts; what to begin
# with is in fuzz/seeds, and in events/.
# libdeflate has tables of one name in several of its files on purpose, which the sanitizer would report.
SECONDS ?= 300
FUZZ_TARGETS := pass_through decode split recognise events settings answers rules
fuzz: target/tools/bin/cargo-fuzz ## Look for inputs that break what reads other people's bytes: make fuzz [SECONDS=300]
	$(foreach target,$(FUZZ_TARGETS),mkdir -p fuzz/corpus/$(target) fuzz/seeds/$(target) && \
		PATH="$(CURDIR)/target/tools/bin:$$PATH" ASAN_OPTIONS=detect_odr_violation=0 $(CARGO) +nightly fuzz run \
		--target-dir target/fuzz $(target) fuzz/corpus/$(target) fuzz/seeds/$(target) $(if $(filter events,$(target)),events) -- \
		-max_total_time=$(SECONDS) -max_len=8192 -len_control=0 &&) true

# The seed of a run is the first line that it prints.
MINUTES ?= 3
SEED ?=
torture: $(VENV)/moto/.done ## Kill functions and tool at random, and account for every record: make torture [MINUTES=3] [SEED=7]
	$(PYTHON) tests/e2e/with_moto.py $(VENV)/moto -- $(CARGO) test --quiet --locked --features local --test torture -- \
		--minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

target/tools/bin/cargo-fuzz:
	$(CARGO) install --locked --root target/tools --version $(CARGO_FUZZ) cargo-fuzz

target/tools/bin/cargo-deny:
	$(CARGO) install --locked --root target/tools --version $(CARGO_DENY) cargo-deny

e2e: e2e-deployed e2e-moto ## Deploy the template onto a local AWS and use it (after make check it builds nothing)

# BOOTSTRAP_DIR names the folder of the two binaries; without it they are those that `make test` builds.
e2e-deployed: $(VENV)/ministack/.done $(VENV)/sam/.done $(VENV)/clients/.done $(if $(BOOTSTRAP_DIR),,bootstraps)
	VENV=$(VENV) PYTHONDONTWRITEBYTECODE=1 $(VENV)/clients/bin/python -m pytest -p no:cacheprovider \
		tests/e2e --verbose --durations=0 $(PYTEST_ARGS)

.PHONY: bootstraps
bootstraps:
	# Not `cargo build`: the tests' dependencies turn on features of the others, and all would be built again.
	$(CARGO) test --locked --features local --no-run

# The contract suites once more, against another implementation of S3 and DynamoDB. Its UpdateItem is not
# atomic, so the tests of moves at once are left to the double and to DynamoDB itself.
e2e-moto: $(VENV)/moto/.done
	$(PYTHON) tests/e2e/with_moto.py $(VENV)/moto -- $(CARGO) test --locked --features local --test it -- \
		at_endpoint ledger::dynamo:: ledger::table:: --skip sixteen --skip at_once

## On AWS

.PHONY: build deploy enable-eventbridge
build: $(VENV)/lambda/.done ## Build both functions for AWS: make build [ARCH=x86_64]
	PATH="$(VENV)/lambda/bin:$$PATH" $(CARGO) lambda build --locked --release --bin ingest --bin reconcile $(if $(filter arm64,$(ARCH)),--arm64,--x86-64)

# Overrides on the command line would take the place of all that samconfig.toml holds.
deploy: $(VENV)/sam/.done $(VENV)/lambda/.done ## Build and deploy, asking for what it needs: make deploy [ARCH=x86_64]
	PATH="$(VENV)/lambda/bin:$$PATH" $(VENV)/sam/bin/sam build --parameter-overrides Architecture=$(ARCH)
	$(VENV)/sam/bin/sam deploy --guided --capabilities CAPABILITY_IAM $(if $(wildcard samconfig.toml),,--parameter-overrides Architecture=$(ARCH))

enable-eventbridge: $(if $(shell command -v aws),,$(VENV)/clients/.done) ## Turn EventBridge on for a bucket that exists: make enable-eventbridge BUCKET=name
	@PATH="$$PATH:$(VENV)/clients/bin" $(PYTHON) scripts/enable-eventbridge "$(BUCKET)"

## The rest

.PHONY: venvs clean
venvs: $(foreach each,ministack sam clients moto encoders,$(VENV)/$(each)/.done)

# One environment for each, since their pins differ.
$(VENV)/%/.done: tests/e2e/requirements-%.txt
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

clean: ## Remove what was built and installed here
	$(CARGO) clean
	rm -rf .venv .aws-sam
