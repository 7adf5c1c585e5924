# Two commands matter: `make demo` shows the program on a made-up workspace, `make test` runs everything.
PYTHON ?= python3
DEMO_VENV := .venv-demo
TEST_VENV := .venv
CONSTRAINTS := constraints.txt
# The runner takes transformers from 4.57 on, the first with Qwen3-VL; `make test` has that and the newest.
OLDEST := 4.57.6
OLDEST_VENV := .venv-transformers-oldest
# The last 4 again without anything borrowed, the first 5, and two between that and the newest.
TRANSFORMERS := $(OLDEST) 5.0.0 5.5.4 5.12.1
# The lowest versions that pyproject.toml takes of hitui's own libraries and of the charts'.
LOWEST_VENV := .venv-lowest
TRANSFORMERS_TESTS := tests/runners/test_transformers_*.py
# What starts torch anew for what no version changes, or takes long and says of our part what it says with the newest;
# `make test-versions` has these too.
SAME_IN_ALL := broken_library or broken_off_by_a_signal or batch_failures or other_device or no_memory or halves or ready_once

# What of the packages is not worth compiling before it is asked for.
SELDOM := /(tests|_inductor|_internal|networkx|mypyc?|pip|setuptools|fontTools|pygments|hypothesis|pydantic)/
SELDOM := $(SELDOM)|/transformers/(exporters|pipelines|models/(?!auto|qwen[23]))|/torch/(_vendor|_export)/
SELDOM := $(SELDOM)|/huggingface_hub/(cli|inference)/|/sympy/(physics|stats|combinatorics)/|/numpy/(distutils|f2py)/
SELDOM := $(SELDOM)|/fsspec/implementations/|/nltk/app/

PIP_INSTALL := $(TEST_VENV)/bin/pip install --quiet --no-compile --constraint $(CONSTRAINTS)
UV_INSTALL := $(TEST_VENV)/bin/uv pip install --quiet --no-cache --system-certs

# What an environment lacks it then finds in that of the tests.
borrow = $(1)/bin/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % \
  sysconfig.get_path("purelib", vars={"base": "$(CURDIR)/$(TEST_VENV)"}))' \
  > "$$($(1)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/borrowed.pth"

# Where the environment forbids Python to keep what it compiled, each of the many processes would do it again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-newest collected test-oldest test-versions test-lowest check bench screenshots clean

demo: $(DEMO_VENV)/installed
	$(DEMO_VENV)/bin/hitui demo

# All at once: much of what is tested waits, and one core does for the linters or for what is compiled.
test:
	$(MAKE) --no-print-directory --jobs 4 check test-newest test-oldest

# Four workers keep two cores busy, though much of what is tested waits; each collects all tests first.
test-newest: $(TEST_VENV)/compiled collected
	$(TEST_VENV)/bin/pytest -n 4 --dist loadgroup $(PYTEST_ARGS)

# What pytest makes of the tests' own files is made and kept by one process: all workers would make it at once.
collected: $(TEST_VENV)/installed
	$(TEST_VENV)/bin/pytest --collect-only -qq > /dev/null || true

# Much of this environment is borrowed from one with the newest: which is found there is looked at before.
test-oldest: $(TEST_VENV)/compiled $(OLDEST_VENV)/installed
	$(OLDEST_VENV)/bin/python -c 'import sys; from importlib import metadata, util; \
	  it = metadata.version("transformers"), util.find_spec("transformers").origin; \
	  assert it[0] == "$(OLDEST)" and it[1].startswith(sys.prefix), it'
	$(OLDEST_VENV)/bin/python -m pytest -q -W default --forbid-skips -k 'not ($(SAME_IN_ALL))' $(TRANSFORMERS_TESTS)

# The runner with a real model library, in an environment of its own for each version, without hitui's dependencies.
test-versions: $(TRANSFORMERS:%=.venv-transformers-%/installed)
	for version in $(TRANSFORMERS); do \
	  echo "transformers $$version"; \
	  .venv-transformers-$$version/bin/python -m pytest -q -W default $(TRANSFORMERS_TESTS) || exit 1; \
	done

# All but the models, for which `test-versions` is there. Older libraries warn of what they will do otherwise.
test-lowest: $(LOWEST_VENV)/installed
	$(LOWEST_VENV)/bin/python -m pytest -n 4 --dist loadgroup -W default -m 'not model' $(PYTEST_ARGS)

check: $(TEST_VENV)/installed
	$(TEST_VENV)/bin/ruff check .
	$(TEST_VENV)/bin/ruff format --check .
	$(TEST_VENV)/bin/mypy
	$(TEST_VENV)/bin/lint-imports --no-logo

bench: $(TEST_VENV)/installed
	$(TEST_VENV)/bin/python -m tests.bench

screenshots: $(TEST_VENV)/installed
	$(TEST_VENV)/bin/python -m tests.tools.screenshots screenshots

$(DEMO_VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_VENV)/bin/pip install --quiet --editable .
	touch $@

# torch is for pip to fetch, which can be told where a build for the CPU lies. For all else uv takes a third of pip's
# time; where it does not reach what pip does, pip goes on.
$(TEST_VENV)/installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(TEST_VENV)
	$(PIP_INSTALL) uv
	$(PIP_INSTALL) --no-deps torch
	$(UV_INSTALL) --constraint $(CONSTRAINTS) --python $(TEST_VENV)/bin/python --editable '.[runners,charts,dev]' \
	  || $(PIP_INSTALL) --editable '.[runners,charts,dev]'
	touch $@

# Before many processes would compile it at once, and those behind the walls of a sandbox, which can keep nothing, each
# time. In what packages bring along, not all is for this Python.
$(TEST_VENV)/compiled: $(TEST_VENV)/installed
	$(TEST_VENV)/bin/python -m compileall -qq -j 0 -x '$(SELDOM)' $(TEST_VENV)/lib || true
	touch $@

# An environment of its own for the library alone: torch, all else and hitui are borrowed from the other one.
$(OLDEST_VENV)/installed: pyproject.toml $(CONSTRAINTS) $(TEST_VENV)/installed
	$(PYTHON) -m venv --clear --without-pip $(OLDEST_VENV)
	$(TEST_VENV)/bin/pip --python $(OLDEST_VENV)/bin/python install --quiet --no-compile --no-deps \
	  transformers==$(OLDEST) huggingface_hub==0.36.2 tokenizers==0.22.2
	$(call borrow,$(OLDEST_VENV))
	touch $@

# All else is borrowed from the other one.
$(LOWEST_VENV)/installed: pyproject.toml $(CONSTRAINTS) $(TEST_VENV)/installed
	$(PYTHON) -m venv --clear --without-pip $(LOWEST_VENV)
	$(UV_INSTALL) --resolution lowest-direct --python $(LOWEST_VENV)/bin/python --editable '.[charts,notify]'
	$(call borrow,$(LOWEST_VENV))
	touch $@

.venv-transformers-%/installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(@D)
	grep -E '^(torch|accelerate|peft|pillow|pytest.*|hypothesis)==' $(CONSTRAINTS) > $(@D)/constraints.txt
	$(@D)/bin/pip install --quiet --constraint $(@D)/constraints.txt torch transformers==$* accelerate peft pillow \
	  pytest pytest-asyncio pytest-timeout hypothesis
	$(@D)/bin/pip install --quiet --no-deps --editable .
	touch $@

clean:
	rm -rf $(DEMO_VENV) $(TEST_VENV) $(LOWEST_VENV) .venv-transformers-* build *.egg-info
