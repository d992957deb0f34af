# make demo   the astronaut through the link: demo.png and a table
# make test   ruff, mypy and pytest
PYTHON ?= python3
PIP := .venv/bin/python -m pip
# torch for CPUs: the default wheel brings gigabytes of CUDA. Empty (TORCH_INDEX=) takes the default.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: demo test clean

demo: .venv/.installed
	.venv/bin/semcast demo -o demo.png --force

test: .venv/.installed
	.venv/bin/python -m pytest

.venv/.installed: pyproject.toml constraints.txt
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	$(PIP) install --quiet --retries 1 -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	$(PIP) install --quiet -c constraints.txt -e '.[all]'
	touch $@

clean:
	rm -rf .venv demo.png .pytest_cache .mypy_cache .ruff_cache
