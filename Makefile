# make demo           the astronaut through the link: demo.png and a table
# make check          the daily loop: ruff, mypy and the tests that take no time
# make test           everything but the slow studies and trainings: ruff, mypy and pytest
# make test-all       those as well
# make test-shared    those alone that need the shared data
# make test-machines  the suite as other processors compute it
# make coverage       which lines no test runs
# make fuzz-short     a minute for each of four kinds of input that strangers send
# make fuzz           an hour of them
# make faults         workers killed, full disks, signals at every moment, memory: an hour
# make golden         the golden vectors of weights that have changed, and whether this machine reads the others alike
# make audit          known vulnerabilities of what is installed; needs the network
# make sbom           sbom.json: what semcast runs with, as CycloneDX
# make docs           site/index.html: tutorial, how-tos, the papers box by box, results, reference
# make wheel          dist/*.whl
PYTHON ?= python3
VENV ?= .venv
PIP := $(VENV)/bin/python -m pip
# Tests of one file go to two processes as these become free: most of them keep one processor busy.
WORKERS ?= 2
PYTEST := $(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal
# What measures seconds does so afterwards and alone.
TIMED := $(VENV)/bin/python -m pytest $$(grep -l mark.timed tests/test_*.py)
# torch for CPUs: the default wheel brings gigabytes of CUDA. Empty (TORCH_INDEX=) takes the default.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: demo check test test-all test-shared test-machines coverage fuzz fuzz-short faults golden audit sbom docs wheel clean

demo: $(VENV)/.installed
	$(VENV)/bin/semcast demo -o demo.png --force

check: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(PYTEST) -m "fast and not slow"

test: $(VENV)/.installed
	$(PYTEST) -m "not slow and not timed"
	$(TIMED) -m "timed and not slow"

test-all: $(VENV)/.installed
	$(PYTEST) -m "not timed"
	$(TIMED) -m timed

test-shared: $(VENV)/.installed
	$(PYTEST) -m "shared and not slow and not timed"

# ATEN_CPU_CAPABILITY: torch's own kernels; ONEDNN_MAX_CPU_ISA=AVX2: convolutions and products, and no bfloat16 (tests/conftest.py).
# Four machines of the eight: every two settings meet in one of them (an orthogonal array). What measures time says nothing there.
# All of them run, whatever the first says.
MACHINES ?= default,ALL,1 default,AVX2,2 avx2,ALL,2 avx2,AVX2,1
test-machines: $(VENV)/.installed
	@failed=; for machine in $(MACHINES); do \
		machine=$$(echo $$machine | sed 's/\(.*\),\(.*\),\(.*\)/ATEN_CPU_CAPABILITY=\1 ONEDNN_MAX_CPU_ISA=\2 OMP_NUM_THREADS=\3/'); \
		echo "== $$machine"; \
		env $$machine $(PYTEST) -m "not slow and not timed" $(TESTS) || failed="$$failed\n  $$machine"; \
	done; \
	test -z "$$failed" || { printf "failed under:$$failed\n" >&2; exit 1; }

# With the slow ones, which are most of what runs trainings and studies; without the faults: on a full disk nothing can be counted.
coverage: $(VENV)/.installed
	$(PYTEST) -m "not timed" --ignore-glob='tests/test_faults_*' --cov --cov-report=term-missing:skip-covered --cov-report=html

# Seconds for each target; what fails is kept in fuzz-failures/ (python -m tests.fuzz --replay FILE runs it again).
FUZZ_SECONDS ?= 900
FUZZ := PYTHONPATH=src $(VENV)/bin/python -m tests.fuzz

fuzz: $(VENV)/.installed
	$(FUZZ) --seconds $(FUZZ_SECONDS)

fuzz-short: $(VENV)/.installed
	$(FUZZ) --seconds 60

faults: $(VENV)/.installed
	SEMCAST_FAULTS=long $(PYTEST) $(or $(TESTS),tests/test_faults_*.py)

golden: $(VENV)/.installed
	PYTHONPATH=src $(VENV)/bin/python tests/golden/make.py

# Without a network nothing is known of any package: that is said, and is no failure.
audit: $(VENV)/.installed
	@if $(VENV)/bin/python .ci/answers.py https://pypi.org/pypi/pip/json "the audit of what is installed is left out"; \
		then $(VENV)/bin/python .ci/audit.py; fi

SBOM ?= sbom.json
sbom: $(VENV)/.installed
	$(VENV)/bin/python -m cyclonedx_py environment $(VENV)/bin/python --pyproject pyproject.toml --mc-type library \
		--output-reproducible --of JSON -o $(SBOM)

docs: $(VENV)/.installed
	$(VENV)/bin/python -m sphinx -b html -W --keep-going -q docs site

wheel: $(VENV)/.installed
	$(PIP) wheel --quiet --no-deps --wheel-dir dist .

# An index that is not there costs pip six tries a package and a page of warnings: it is asked once, and what pip says of it is shown.
$(VENV)/.installed: pyproject.toml constraints.txt .ci/answers.py
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	index=; if [ -n "$(TORCH_INDEX)" ] && $(VENV)/bin/python .ci/answers.py $(TORCH_INDEX)/torch/ "torch comes from the default index"; \
		then index="--extra-index-url $(TORCH_INDEX)"; fi; \
		$(PIP) install --quiet -c constraints.txt $$index torch
	$(PIP) install --quiet -c constraints.txt -e '.[all]'
	touch $@

clean:
	rm -rf .venv build dist site docs/rooms demo.png sbom.json fuzz-failures htmlcov .coverage .pytest_cache .mypy_cache .ruff_cache
