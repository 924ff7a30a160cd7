# Everything runs from .venv, made by the first target that needs it from the lock file.
# PYTHON chooses the interpreter (3.11 or later), ARGS is handed to the command: make demo ARGS=--help
# PACK chooses whose story the demo plays: car_credit unless it is payday_loans, car_dealer, mortgage_agents, instalments

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=
PACK ?= car_credit

UV_COMPILE := $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --custom-compile-command "make lock"

.PHONY: setup up demo test record check format bench torture lock clean

setup: $(INSTALLED)

# pip leaves alone what is already there, so a change of the lock costs only what changed; Python compiles
# what is really used, which is a small part.
$(INSTALLED): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("journeys needs Python 3.11 or later; " + sys.executable + " is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.12")'
	@echo "Setting up $(VENV) from requirements-dev.lock (once; a minute or two)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --requirement requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

up: $(INSTALLED)
	$(BIN)/journeys up $(ARGS)

demo: $(INSTALLED)
	$(BIN)/journeys demo --pack $(PACK) $(ARGS)

test: $(INSTALLED)
	$(BIN)/pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder $(ARGS)

# First what was recorded before must still replay: a recording is added to, never replaced.
record: $(INSTALLED)
	$(BIN)/pytest tests/histories/test_replay.py
	$(BIN)/pytest tests/workflows --record $(ARGS)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/journeys check
	$(BIN)/python .ci/scan.py requirements.lock requirements-dev.lock

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)
	$(BIN)/journeys bench $(ARGS)

# Ten minutes of everything breaking; ARGS="--goals 100000" races goals against claims instead.
torture: $(INSTALLED)
	$(BIN)/journeys torture $(ARGS)

# Versions stay as they are unless ARGS=--upgrade. What ships is what was tested: the runtime lock is
# held to the versions of the other one.
lock: $(INSTALLED)
	$(UV_COMPILE) --all-extras --output-file requirements-dev.lock $(ARGS)
	$(UV_COMPILE) --constraints requirements-dev.lock --output-file requirements.lock $(ARGS)

clean:
	rm -rf $(VENV) var build *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
