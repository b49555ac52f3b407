# One command each: `make help`. Needs only Python >= 3.11 and a package registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
EXTRAS := cell,patient,surgery,fields,studio,govern,ray,dev
OUT ?= demo_out
JOBS ?= 2

# Two cores are shared by XLA, BLAS and worker processes: one thread each, which also keeps sums in one order.
export XLA_FLAGS ?= --xla_cpu_multi_thread_eigen=false
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.jax_cache
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0.5

# Real data, where the folder beside this one has them.
ifneq ($(wildcard ../shared/data),)
export BIOWM_DATA ?= $(abspath ../shared/data)
endif

.PHONY: help venv demo test test-slow test-torch mutation check format bench-ias clean
.DEFAULT_GOAL := help

help:  ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

venv: $(STAMP)  ## set up .venv with everything but [bench], [peers] and [torch]

# The stamp is the last thing written: a half-built environment has none and is built anew.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: make PYTHON=...")'
	@test -e $@ || $(PYTHON) -m venv --clear $(VENV)
	@rm -f $@
	$(BIN)/python -m pip install --quiet --editable ".[$(EXTRAS)]"
	$(BIN)/python -m pip install --quiet --no-deps "icu-sepsis>=2"  # only its tables are used
	@touch $@

demo: venv  ## the main job on a simulated cohort; report in demo_out/
	$(BIN)/biowm demo --out $(OUT)

# Programs are compiled without optimisation: on small data compiling is what takes time.
test: venv  ## every quick test
	XLA_FLAGS="$(XLA_FLAGS) --xla_backend_optimization_level=0" \
	  $(BIN)/python -m pytest -m "not slow" -n 2

test-slow: venv  ## the tests that take longer
	$(BIN)/python -m pytest -m slow

test-torch: venv  ## a model made with PyTorch through the contract suite (installs PyTorch)
	$(BIN)/python -m pip install --quiet --editable ".[torch]"
	$(BIN)/python -m pytest tests/torch

mutation: venv  ## how many of a sample of planted faults the tests tell, in build/mutation (an hour or more)
	$(BIN)/python -m pip install --quiet --editable ".[mutation]"
	XLA_FLAGS="$(XLA_FLAGS) --xla_backend_optimization_level=0" $(BIN)/python -P tests/mutation.py build/mutation $(JOBS)

check: venv  ## lint, format, types, rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: venv  ## put the code in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench-ias: venv  ## the benchmark on the real cohort of intermittent androgen suppression
	$(BIN)/biowm bench run ias

clean:  ## remove what was built, but not the data
	rm -rf $(VENV) $(OUT) build dist .jax_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
