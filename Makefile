# Two commands matter: `make demo` shows the program on a made-up workspace, `make test` runs everything.
PYTHON ?= python3
DEMO_VENV := .venv-demo
TEST_VENV := .venv
CONSTRAINTS := constraints.txt

.PHONY: demo test check bench screenshots clean

demo: $(DEMO_VENV)/installed
	$(DEMO_VENV)/bin/hitui demo

test: check
	$(TEST_VENV)/bin/pytest -n 2 $(PYTEST_ARGS)

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
	$(TEST_VENV)/bin/pip install --quiet --constraint $(CONSTRAINTS) --editable '.[runners,dev]'
	touch $@

clean:
	rm -rf $(DEMO_VENV) $(TEST_VENV) build *.egg-info
