# Two commands matter: `make demo` shows the program on a made-up workspace, `make test` runs everything.
PYTHON ?= python3
DEMO_VENV := .venv-demo
TEST_VENV := .venv
CONSTRAINTS := constraints.txt
# The last 4 (Qwen3-VL came with 4.57), the first 5, and two between that and the one of `make test`.
TRANSFORMERS := 4.57.6 5.0.0 5.5.4 5.12.1

.PHONY: demo test test-versions check bench screenshots clean

demo: $(DEMO_VENV)/installed
	$(DEMO_VENV)/bin/hitui demo

test: check
	$(TEST_VENV)/bin/pytest -n 2 $(PYTEST_ARGS)

# The runner with a real model library, in an environment of its own for each version, without hitui's dependencies.
test-versions: $(TRANSFORMERS:%=.venv-transformers-%/installed)
	for version in $(TRANSFORMERS); do \
	  echo "transformers $$version"; \
	  .venv-transformers-$$version/bin/python -m pytest -q -W default tests/runners/test_transformers_*.py || exit 1; \
	done

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

$(TEST_VENV)/installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(TEST_VENV)
	$(TEST_VENV)/bin/pip install --quiet --constraint $(CONSTRAINTS) --editable '.[runners,charts,dev]'
	touch $@

.venv-transformers-%/installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(@D)
	grep -E '^(torch|accelerate|pillow|pytest.*|hypothesis)==' $(CONSTRAINTS) > $(@D)/constraints.txt
	$(@D)/bin/pip install --quiet --constraint $(@D)/constraints.txt torch transformers==$* accelerate pillow \
	  pytest pytest-asyncio pytest-timeout hypothesis
	$(@D)/bin/pip install --quiet --no-deps --editable .
	touch $@

clean:
	rm -rf $(DEMO_VENV) $(TEST_VENV) .venv-transformers-* build *.egg-info
