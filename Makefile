# Needs python3.11 (or newer), make and pip; everything else goes into .venv.
#   make run         the main job: grow hosts on digits, compare, report      (ARGS="--quick")
#   make test        all tests that take seconds                              make test-long: the rest
#   make bench-NAME  side by side with the neighbours: attribution, evaluation, normalization, ppo-normalizers,
#                    ppo-resume, growth (ARGS="--quick")
#   make check       format, lint, strict types, layers, examples in docstrings
#   make docs        the documentation, as HTML
#   PIPFLAGS="--index-url ..." points pip elsewhere, for example at a CPU build of torch

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet $(PIPFLAGS) -c constraints.txt
STAMP := $(VENV)/.installed
export OMP_NUM_THREADS ?= 1

.PHONY: run test test-long check docs bench-attribution bench-evaluation bench-normalization bench-ppo-normalizers bench-ppo-resume bench-growth clean

run: $(STAMP)-grow
	$(BIN)/accredit grow $(ARGS)

test: $(STAMP)-test
	$(BIN)/pytest -n 2 --dist worksteal -m "not long" $(ARGS)

test-long: $(STAMP)-test
	$(BIN)/pytest -n 2 --dist worksteal $(ARGS)

check: $(STAMP)-check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest --doctest-modules -q -n 2 src/accredit

docs: $(STAMP)-docs
	$(BIN)/sphinx-build -q -W --keep-going docs docs/_build
	@echo "docs: docs/_build/index.html"

# Benchmarks make environments of their own for peers that do not go together with ours.
bench-attribution: $(STAMP)-test
	$(BIN)/python -m benchmarks.attribution $(ARGS)

# many coalitions of a network; about 20 minutes on one core
bench-evaluation: $(STAMP)-bench
	$(BIN)/python -m benchmarks.evaluation $(ARGS)

bench-normalization: $(STAMP)-test
	$(BIN)/python -m benchmarks.normalization $(ARGS)

# PPO on MuJoCo; half an hour to an hour on two cores, and interrupted it goes on where it was
bench-ppo-normalizers: $(STAMP)-bench
	$(BIN)/python -m benchmarks.ppo_normalizers $(ARGS)

# PPO that goes on with and without its statistics; half an hour on two cores
bench-ppo-resume: $(STAMP)-bench
	$(BIN)/python -m benchmarks.ppo_resume $(ARGS)

# PPO on growth, ten seeds a study; hours on two cores, and interrupted it goes on where it was (ARGS="--only digits")
bench-growth: $(STAMP)-bench
	$(BIN)/python -m benchmarks.growth $(ARGS)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# torch comes first and alone, so that the version of constraints.txt decides which build is taken.
$(STAMP)-torch: constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch
	touch $@

$(STAMP)-%: $(STAMP)-torch pyproject.toml
	$(PIP) -e ".[$*]"
	touch $@
