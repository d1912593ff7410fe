# Every target makes the virtual environment it needs, once, and again only after pyproject.toml or
# constraints.txt changed. The package is installed editable: a change of the code needs no reinstall. Python compiles
# what is imported, at the first import: to compile all that is installed would take minutes.
# Where the environment forbids Python to keep what it compiled, every process would compile all of it again.
unexport PYTHONDONTWRITEBYTECODE
PYTHON ?= python3
# Options for the command behind a target: make verify ARGS="--quick", make test ARGS="-k sampling".
ARGS ?=
# Kernels of OpenBLAS that every 64-bit PC can run, and that round otherwise than its own.
KERNELS ?= Nehalem
# The claim that the freshly installed wheel has to verify.
CLAIM ?= imbalance

VERIFY := .venv/verify
TEST := .venv/test
EXTRAS_verify :=
EXTRAS_test := [test,lint,bridge,sweep,docs]

# Two test workers on two cores: threads inside numpy would only fight over them.
test wheel-check kernels: export OMP_NUM_THREADS := 1
test wheel-check kernels: export OPENBLAS_NUM_THREADS := 1
test wheel-check kernels: export MKL_NUM_THREADS := 1

# What the figures computed once; deleted by make clean.
figures: export ESSSIM_CACHE ?= $(CURDIR)/build/cache

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help verify test kernels figures docs bench theory lint format wheel-check clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

verify: $(VERIFY)/.installed ## decide every claim on real input; table, results.json and report.html in results/
	@# Exit code 1: a claim came out against our prediction. That is a finding, and no failure of the command.
	$(VERIFY)/bin/esssim verify --out results $(ARGS) || { [ $$? -eq 1 ] && [ -s results/results.json ]; }

test: $(TEST)/.installed ## everything CI checks: style, types, the installed wheel, the test suite
	$(MAKE) -j 2 lint wheel-check
	$(MAKE) kernels
	$(TEST)/bin/python -m pytest -n 2 --dist worksteal $(ARGS)

kernels: $(TEST)/.installed ## the numerical tests once more, with the kernels that OpenBLAS has for another CPU (KERNELS=Nehalem)
	OPENBLAS_CORETYPE=$(KERNELS) $(TEST)/bin/python -m pytest -n 2 --dist worksteal -q -m "numerical and not slow" $(ARGS)

figures: $(TEST)/.installed ## build every figure (PDF, SVG, PNG) with its data beside it: under ten minutes on 2 cores
	$(TEST)/bin/python -m figures $(ARGS)

docs: $(TEST)/.installed ## the documentation site in build/docs/html: opens from disk, asks for nothing from the network
	OMP_NUM_THREADS=1 $(TEST)/bin/python -m sphinx -q -W --keep-going -n -d build/docs/doctrees docs build/docs/html $(ARGS)

bench: $(TEST)/.installed ## speed against what one would write instead, as ratios
	$(TEST)/bin/python -m benchmarks $(ARGS)

theory: $(VERIFY)/.installed ## prove every derivation step by step; typeset summary in theory/output/
	$(VERIFY)/bin/python -m theory $(ARGS)

lint: $(TEST)/.installed ## style (ruff) and types (mypy, strict)
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/mypy
	$(TEST)/bin/python -m esssim.claims.index --check
	$(TEST)/bin/python -m esssim.report README.md docs/results.json --check
	$(TEST)/bin/python -m esssim.claims.gap_tables docs/gap.md --check
	$(TEST)/bin/python docs/adaptive.py --check
	$(TEST)/bin/python docs/adaptive_networks.py --check
	$(TEST)/bin/python docs/phases.py --check
	$(TEST)/bin/python docs/courses.py --check
	$(TEST)/bin/python docs/parting.py --check
	$(TEST)/bin/python docs/published_edges.py --check
	$(TEST)/bin/python docs/definitions.py --check
	$(TEST)/bin/python docs/intervals.py --check
	$(TEST)/bin/python docs/escapes.py --check
	$(TEST)/bin/python docs/flow.py --check
	$(TEST)/bin/python docs/full_batch.py --check
	$(TEST)/bin/python docs/layers.py --check
	$(TEST)/bin/python docs/noise.py --check
	$(TEST)/bin/python docs/noise_baselines.py --check
	$(TEST)/bin/python docs/reliability.py --check
	$(TEST)/bin/python docs/settling_map.py --check
	$(TEST)/bin/python docs/sizes.py --check
	$(TEST)/bin/python docs/tails.py --check

format: $(TEST)/.installed ## rewrite the sources in the style that lint asks for
	$(TEST)/bin/ruff check --fix .
	$(TEST)/bin/ruff format .

wheel-check: $(TEST)/.installed ## build the wheel and use it in an empty environment outside the repository
	bash .ci/wheel-check "$(PYTHON)" "$(TEST)/bin/python" "$(CLAIM)"

clean: ## remove the environments, builds and caches; results/ stays
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/%/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"esssim needs Python 3.11 or newer, $(PYTHON) is {sys.version.split()[0]}: set PYTHON")'
	test -x .venv/$*/bin/python || $(PYTHON) -m venv .venv/$*
	.venv/$*/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt hatchling editables
	.venv/$*/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt \
		--no-build-isolation --editable ".$(EXTRAS_$*)"
	@touch $@
