# A verb for each habit; `make help` lists them. Every verb creates what it needs and re-does nothing that is up to date.
#
# Two kinds of virtual environment, so that a build for one purpose never replaces that of another:
#   .venv            the release build: demo, bench, conformance, soak
#   .venv-test-X.Y   the build with Cargo's profile `testing`, one a Python version: test, lint, types
# fastws is installed into them as a wheel, never as a link into the sources. What an environment holds is recorded in
# its own .stamps/, so removing an environment forgets it.

.DEFAULT_GOAL := help
.SUFFIXES:
.DELETE_ON_ERROR:
.PHONY: help demo test test-all test-compat test-network test-protocol test-rust test-python faults lint lint-rust lint-python types bench bench-rivals \
	bench-instructions charts flamegraph conformance \
	fuzz soak sanitize docs examples build wheel-pgo fmt pythons clean distclean force

GOALS := $(or $(MAKECMDGOALS),help)
needs = $(filter $(1),$(GOALS))

# ---- the machine -----------------------------------------------------------------------------------------------------

ifneq ($(call needs,demo test test-compat test-network test-protocol test-rust test-python faults lint lint-rust lint-python types bench bench-rivals \
	bench-instructions charts flamegraph conformance soak sanitize docs \
	examples build wheel-pgo fmt),)
  ifdef PYTHON
    FOUND := $(shell scripts/find-pythons "$(PYTHON)")
    ifeq ($(FOUND),)
      $(error PYTHON=$(PYTHON) cannot be used)
    endif
  else
    FOUND := $(shell scripts/find-pythons --best)
    ifeq ($(FOUND),)
      $(error No CPython >= 3.11 found. Install one (Debian/Ubuntu: apt install python3 python3-venv; macOS: brew \
        install python; anywhere: pyenv install 3.13) or name it: make $(firstword $(GOALS)) PYTHON=/path/to/python3.13)
    endif
  endif
  PYVER := $(firstword $(FOUND))
  PYTHON_PATH := $(wordlist 2,99,$(FOUND))
endif

ifneq ($(call needs,demo test test-all test-compat test-network test-protocol test-rust test-python faults lint lint-rust types bench bench-rivals \
	bench-instructions flamegraph conformance fuzz \
	soak sanitize examples build wheel-pgo fmt),)
  CARGO := $(firstword $(shell command -v cargo 2>/dev/null; ls "$$HOME/.cargo/bin/cargo" 2>/dev/null))
  ifeq ($(CARGO),)
    $(error No cargo found. Install Rust >= 1.89 from https://rustup.rs and try again)
  endif
  ifeq ($(shell command -v cc 2>/dev/null),)
    $(error No C compiler (cc) found; Rust links with it. Debian/Ubuntu: apt install build-essential; macOS: xcode-select --install)
  endif
  export PATH := $(patsubst %/,%,$(dir $(CARGO))):$(PATH)
endif

ifneq ($(call needs,test test-all test-network test-protocol test-python),)
  # Of a test's name, as in TESTS=tests/unit/test_tls.py::test_x, the file; a name in quotes may have spaces.
  NOWHERE := $(if $(findstring ',$(TESTS)),,$(foreach test,$(TESTS),$(if $(wildcard $(firstword $(subst ::, ,$(test)))),,$(test))))
  ifneq ($(strip $(NOWHERE)),)
    $(error TESTS: there is no $(strip $(NOWHERE)); name files or folders, such as TESTS=tests/unit/test_tls.py, or choose by \
      name with PYTEST_ARGS="-k name")
  endif
endif

JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

# ---- environments ----------------------------------------------------------------------------------------------------

RELEASE := .venv
TEST := .venv-test-$(PYVER)
DOCS := .venv-docs

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_WARN_SCRIPT_LOCATION := 1

say = printf '\n==> %s\n' "$(1)"

# $(call environment,DIRECTORY)
define environment
$(1)/.stamps/python-$(PYVER): $(if $(wildcard $(1)/bin/python),,force)
	@$(call say,$(1): a virtual environment of Python $(PYVER) from $(PYTHON_PATH))
	@"$(PYTHON_PATH)" -m venv --clear $(1)
	@mkdir -p $$(@D) && touch $$@
endef

# $(call packages,DIRECTORY,NAME,INCLUDED FILES)
define packages
$(1)/.stamps/$(2): requirements/$(2).txt $(3:%=requirements/%.txt) $(1)/.stamps/python-$(PYVER)
	@$(call say,$(1): the packages of requirements/$(2).txt)
	@$(1)/bin/python -m pip install --progress-bar off -r requirements/$(2).txt || { \
		echo "make: fetching packages needs the network, once; see pip's message above" >&2; exit 1; }
	@touch $$@
endef

$(eval $(call environment,$(RELEASE)))
$(eval $(call environment,$(TEST)))
$(eval $(call environment,$(DOCS)))
$(eval $(call packages,$(RELEASE),build,runtime))
$(eval $(call packages,$(RELEASE),bench,runtime build test))
$(eval $(call packages,$(TEST),test,runtime build))
$(eval $(call packages,$(TEST),lint,))
$(eval $(call packages,$(DOCS),docs,))

# ---- the extension module and the package around it ------------------------------------------------------------------

RELEASE_TARGET ?= target
TEST_TARGET ?= target-$(PYVER)
CARGO_FLAGS ?=
PACKAGE_SOURCES := $(shell find python -name __pycache__ -prune -o -type f ! -name '*.so' ! -name '*.pyd' -print 2>/dev/null)
RUST_SOURCES := $(shell find rust \( -name target -o -path rust/fuzz \) -prune -o -type f -print 2>/dev/null)

# A deleted file is a change too.
.stamps/sources: force
	@mkdir -p $(@D)
	@printf '%s\n' $(sort $(PACKAGE_SOURCES) $(RUST_SOURCES)) > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

WHEEL_SOURCES := .stamps/sources pyproject.toml Cargo.toml $(wildcard Cargo.lock) $(RUST_SOURCES) $(PACKAGE_SOURCES)

# $(call install,DIRECTORY,CARGO PROFILE,TARGET DIRECTORY,PACKAGES STAMP)
# The stamp is as old as the start of the build: what is edited meanwhile is built the next time.
define install
$(1)/.stamps/fastws: $(WHEEL_SOURCES) $(1)/.stamps/$(4)
	@$(call say,$(1): building fastws with the Cargo profile $(2))
	@touch $$@.new && rm -rf build/wheels/$(1)
	@$(1)/bin/maturin build --profile $(2) --target-dir "$(3)" --interpreter $(1)/bin/python --strip false \
		--compatibility linux --compression-method stored --out build/wheels/$(1) $(CARGO_FLAGS)
	@$(1)/bin/python -m pip install --quiet --no-index --no-deps --force-reinstall build/wheels/$(1)/*.whl
	@mv $$@.new $$@
endef

$(eval $(call install,$(RELEASE),release,$(RELEASE_TARGET),build))
$(eval $(call install,$(TEST),testing,$(TEST_TARGET),test))

# ---- verbs -----------------------------------------------------------------------------------------------------------

help: ## list the verbs
	@echo "make VERB [PYTHON=python3.12]"
	@echo
	@sed -n 's/^\([a-z-]*\):[^#=]*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS='|' read -r verb line; do printf '  %-14s %s\n' "$$verb" "$$line"; done

demo: $(RELEASE)/.stamps/fastws ## play an exchange session, with faults, and prove nothing was lost unmarked (FEED=recorded.jsonl.gz, ARGS=--compare)
	@$(RELEASE)/bin/python -m fastws demo $(if $(FEED),--feed "$(FEED)") $(ARGS)

test: test-rust test-python test-protocol ## all tests, Rust and Python (TESTS=path, MARK=expression, PYTEST_ARGS=…)

# rust/py has no tests of its own: an extension module links only inside an interpreter, so pytest tests it.
RUST_TESTED := -p fastws-core -p fastws-server

test-rust: ## the tests of the Rust crates (cargo nextest if it is installed, else cargo test)
	@$(call say,Rust tests)
	@if cargo nextest --version >/dev/null 2>&1; then \
		cargo test --doc --profile testing --target-dir "$(TEST_TARGET)" -p fastws-core $(CARGO_FLAGS) && \
		cargo nextest run --cargo-profile testing --target-dir "$(TEST_TARGET)" --no-fail-fast $(RUST_TESTED) $(CARGO_FLAGS); \
	else \
		cargo test --profile testing --target-dir "$(TEST_TARGET)" --no-fail-fast $(RUST_TESTED) $(CARGO_FLAGS); \
	fi

# Tests that measure time run alone, after the others; pytest's exit code 5 there, or with MARK=timing, only says that
# none was selected. Those against programs of others that are slow besides are left to test-network.
PYTEST := $(TEST)/bin/python -m pytest
test-python: $(TEST)/.stamps/fastws ## the Python tests
	@$(call say,Python $(PYVER): tests)
	@$(PYTEST) -n $(JOBS) --dist worksteal -m "not timing and not (network and slow)$(if $(MARK), and ($(MARK)))" \
		$(PYTEST_ARGS) $(TESTS) || [ $$? -eq 5 -a "$(MARK)" = timing ]
	@if [ -z "$(findstring not timing,$(MARK))" ]; then \
		$(call say,Python $(PYVER): tests that measure time); \
		$(PYTEST) -m "timing$(if $(MARK), and ($(MARK)))" $(PYTEST_ARGS) $(TESTS) || [ $$? -eq 5 ]; \
	fi

test-network: $(TEST)/.stamps/fastws ## the tests against programs of others (nginx, HAProxy, node's ws, Dante, …), also the slow ones, by both drivers; none may be missing
	@$(call say,Python $(PYVER): tests against programs of others)
	@$(TEST)/bin/python tests/daemons.py
	@FASTWS_TEST_NETWORK=1 $(PYTEST) -n $(JOBS) --dist worksteal -m "network$(if $(MARK), and ($(MARK)))" $(PYTEST_ARGS) $(TESTS)
	@$(call say,Python $(PYVER): the same by the protocol driver)
	@FASTWS_TEST_NETWORK=1 $(PYTEST) -n $(JOBS) --dist worksteal --driver protocol -m "network$(if $(MARK), and ($(MARK)))" \
		$(PYTEST_ARGS) $(TESTS)

test-compat: $(TEST)/.stamps/fastws ## test files of other packages, unmodified, on the drop-ins of fastws.compat, then a table (ARGS="websockets --version 17.4", "programs/gql", or --quick; needs the network once)
	@$(call say,Python $(PYVER): the drop-ins under the test suites of others)
	@$(TEST)/bin/python tests/foreign_suites/run.py $(ARGS)

# What does not go by a driver, or has a pass of its own, is left out.
test-protocol: $(TEST)/.stamps/fastws ## the integration tests again, by the protocol driver
	@$(call say,Python $(PYVER): tests by the protocol driver)
	@$(PYTEST) -n $(JOBS) --dist worksteal --driver protocol -m "not timing and not slow and not network" \
		$(patsubst %,--ignore-glob 'tests/integration/test_%*',sync server venue docs demo interpreters) $(PYTEST_ARGS) \
		tests/integration

test-all: test-rust-once ## the Rust tests once, the Python tests on every CPython >= 3.11 found
	@scripts/find-pythons | while read -r version path; do \
		$(MAKE) --no-print-directory test-python PYTHON="$$path" </dev/null || exit 1; \
	done

.PHONY: test-rust-once
test-rust-once:
	@$(MAKE) --no-print-directory test-rust

faults: $(TEST)/.stamps/fastws ## put the 25 faults of the model crate into a copy of the sources: each must fail its tests (ARGS="6 -v")
	@$(call say,Python $(PYVER): the faults of the model)
	@$(TEST)/bin/python tests/run_model_faults.py $(ARGS)

lint: lint-rust lint-python types ## every static check

# With the environment that maturin gives to cargo, clippy and the test build share what they compile.
lint-rust: $(TEST)/.stamps/python-$(PYVER) ## rustfmt and clippy, warnings are errors
	@$(call say,rustfmt and clippy)
	@cargo fmt --all --check
	@PYO3_PYTHON="$(CURDIR)/$(TEST)/bin/python" PYO3_BUILD_EXTENSION_MODULE=1 \
		PYO3_ENVIRONMENT_SIGNATURE="cpython-$(PYVER)-64bit" \
		cargo clippy --workspace --all-targets --profile testing --target-dir "$(TEST_TARGET)" $(CARGO_FLAGS) -- -D warnings

lint-python: $(TEST)/.stamps/lint ## ruff: rules and format
	@$(call say,ruff)
	@$(TEST)/bin/ruff check .
	@$(TEST)/bin/ruff format --check .

types: $(TEST)/.stamps/lint $(TEST)/.stamps/fastws ## mypy strict, and the stubs against the built module
	@$(call say,mypy and stubtest)
	@$(TEST)/bin/python -m mypy python/fastws $(wildcard tests/typing)
	@MYPYPATH=python $(TEST)/bin/python -m mypy.stubtest fastws._core --mypy-config-file pyproject.toml \
		$(addprefix --allowlist ,$(wildcard tests/typing/stubtest-allowlist.txt))

bench: $(RELEASE)/.stamps/bench $(RELEASE)/.stamps/fastws ## pytest-benchmark over benches/ (ARGS="-k ingest")
	@$(RELEASE)/bin/python -m pytest benches --benchmark-only --benchmark-columns=median,iqr,ops,rounds \
		-o timeout=0 -o faulthandler_timeout=0 -o filterwarnings=default $(ARGS)

bench-rivals: $(RELEASE)/.stamps/bench $(RELEASE)/.stamps/fastws ## fastws beside its rivals: interleaved, pinned, medians and ratios
	@$(RELEASE)/bin/python benches/rivals.py $(ARGS)

bench-instructions: $(RELEASE)/.stamps/build $(RELEASE)/.stamps/fastws ## instructions of an operation, counted by valgrind, against the budget
	@$(RELEASE)/bin/python benches/instructions.py $(ARGS)

charts: ## the charts and tables of docs/benchmarks.md from benches/results.json (ARGS=build/bench/rivals-….json makes that the record)
	@"$(PYTHON_PATH)" benches/charts.py $(ARGS)

flamegraph: $(RELEASE)/.stamps/fastws build/tools/bin/inferno-flamegraph ## docs/benchmarks/async-for.svg: where the time of `async for` goes, sampled by perf
	@$(RELEASE)/bin/python benches/flamegraph.py $(ARGS)

build/tools/bin/inferno-flamegraph:
	@$(call say,inferno, which folds and draws flame graphs)
	@cargo install --quiet --locked inferno --version 0.12.8 --no-default-features --features cli,nameattr --root build/tools

conformance: $(RELEASE)/.stamps/fastws ## the Autobahn test suite, on asyncio and on uvloop
	@PYTHON="$(CURDIR)/$(RELEASE)/bin/python" tests/conformance/run.sh $(ARGS)

fuzz: ## hostile bytes for the protocol core (ARGS="TARGET SECONDS")
	@rust/fuzz/run.sh $(ARGS)

soak: $(RELEASE)/.stamps/fastws ## hours under load: nothing lost, memory flat (ARGS=--scale: 10,000 idle connections; --chaos)
	@$(RELEASE)/bin/python benches/soak.py $(ARGS)

sanitize: $(TEST)/.stamps/test ## all unsafe code under AddressSanitizer or valgrind (ARGS="rust", "python TEST…")
	@PYTHON="$(CURDIR)/$(TEST)/bin/python" scripts/sanitize $(ARGS)

examples: $(RELEASE)/.stamps/fastws ## run every program of examples/ against the embedded server
	@for example in $(wildcard examples/*.py); do \
		$(call say,$$example); $(RELEASE)/bin/python -X dev "$$example" || exit 1; done

docs: build/docs/index.html ## the documentation site, in build/docs
	@echo "build/docs/index.html is up to date"

build/docs/index.html: mkdocs.yml $(shell find docs -type f 2>/dev/null) $(PACKAGE_SOURCES) $(DOCS)/.stamps/docs
	@$(call say,the documentation site)
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --strict --clean --site-dir build/docs

build: $(RELEASE)/.stamps/build ## a wheel for this platform and the source distribution, in dist/
	@$(RELEASE)/bin/maturin build --release --target-dir "$(RELEASE_TARGET)" --interpreter $(RELEASE)/bin/python --out dist $(CARGO_FLAGS)
	@$(RELEASE)/bin/maturin sdist --out dist

wheel-pgo: $(RELEASE)/.stamps/build ## a profile-guided wheel in dist/: instrumented, trained by benches/, built again
	@PYTHON="$(CURDIR)/$(RELEASE)/bin/python" CARGO_FLAGS="$(CARGO_FLAGS)" scripts/wheel-pgo

fmt: $(TEST)/.stamps/lint ## format everything
	@cargo fmt --all
	@$(TEST)/bin/ruff check --quiet --fix --select I . ; $(TEST)/bin/ruff format .

pythons: ## the CPythons that the tests can run on, the default first
	@scripts/find-pythons

clean: ## remove what was built; fetched packages stay
	rm -rf build dist target target-* .stamps .venv*/.stamps/fastws .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find python tests benches -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
	rm -f python/fastws/_core*.so python/fastws/_core*.pyd

distclean: clean ## remove the virtual environments too
	rm -rf .venv .venv-*
