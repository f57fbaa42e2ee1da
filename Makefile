# Two commands to start with: `make demo` and `make test`. `make demo DEMO_ARGS=--bad-day` is a bad day.

PYTHON ?= python3
# Tests start many processes of ours; compiled once, each starts in half the time.
unexport PYTHONDONTWRITEBYTECODE
# ZIP codes, order and road data for demos, simulations and benchmarks; without them each says so.
export MALLARD_DATASETS ?= $(wildcard $(abspath ../shared/data))
VENV := .venv
BIN := $(VENV)/bin
# Touched when the environment holds what the lock says.
READY := $(VENV)/.ready
# Touched when the tests are compiled. Cold, each of the eight workers would compile all of them.
COMPILED := $(VENV)/.compiled
# Tests run side by side, each worker with a server of its own: many wait for a limit to pass, so
# there are four workers to each of two cores. `make test PYTEST_ARGS=-x` runs them one by one.
PYTEST_ARGS ?= -n 8
# The slow tests keep their processors busy.
SLOW_ARGS ?= -n 3

.PHONY: demo web test test-slow test-pages test-pages-slow screenshots console-load coverage planted load load-restarts outage failover attack bench bench-quick lint format types docs lock clean fresh-machine typescript

demo: $(READY)
	$(BIN)/mallard demo $(DEMO_ARGS)

test: $(COMPILED)
	$(BIN)/pytest $(PYTEST_ARGS) -m "not slow and not pages"

# Benchmarks, simulated days, whole processes and more seeds: minutes that CI spends on each change.
test-slow: $(READY)
	$(BIN)/pytest $(SLOW_ARGS) -m "slow and not pages"

# Every page in Chromium, beside a real engine: `apt-get install chromium fonts-roboto-unhinted` and
# `make web` first.
test-pages: $(READY)
	$(BIN)/pytest -n 2 -m "pages and not slow" tests/pages $(PAGES_ARGS)

# Stories of minutes: the long life of an order in every size, ten minutes without a line by the clock.
# docs/measurements/pages.md keeps the last result.
test-pages-slow: $(READY)
	$(BIN)/pytest -m "pages and slow" tests/pages $(PAGES_ARGS)

# The same tests, which write docs/screenshots as they go.
screenshots: $(READY)
	MALLARD_SCREENSHOTS=1 $(BIN)/pytest -m "pages and not slow" tests/pages $(PAGES_ARGS)

# The console with 2,000 moving drivers and 3,000 jobs on a recorded feed, ten minutes: frames, script,
# memory, first rows. CONSOLE_ARGS="--minutes 1" is the short form; docs/measurements/console.md has
# the last result.
console-load: $(READY)
	$(BIN)/python -m tests.pages.recorded.load $(CONSOLE_ARGS)

# The tests of `make test` with branch coverage; fails below the floor in pyproject.toml.
coverage: $(READY)
	$(BIN)/pytest $(PYTEST_ARGS) -m "not slow and not pages" --cov --cov-report=term:skip-covered

# The guard of the guards, half an hour on two cores: bugs planted in the scripts, each of which the
# random state machine must find. Prints each by name, and at the end those that it has not found.
# docs/measurements/planted-bugs.md has the last result.
planted: $(READY)
	MALLARD_TEST_DEEP=1 $(BIN)/pytest -v --tb=line $(SLOW_ARGS) tests/properties/test_store_machine.py -k planted

# Two minutes of load on an engine of its own; the report is in load_tests/results.
# `make load LOAD_ARGS="--shape flash-sale --drivers 700"` runs another; see load_tests/README.md.
load: $(READY)
	$(BIN)/python -m load_tests.users.with_engine $(LOAD_ARGS)

# How soon an order is offered if a driver is free: 20 orders a second for 600 drivers, real sockets, the
# shipped preset, 80 seconds. docs/measurements/presets.md has the last result.
.PHONY: first-offer
first-offer: $(READY)
	$(BIN)/python -m load_tests.swarm --nodes 1 --drivers 600 --rate 20 --seconds 60 --warm-s 15 \
		--slo "offer latency:p99<25ms,failures<0.1%" $(FIRST_OFFER_ARGS)

# 30,000 orders while two nodes are restarted in turn, three minutes: enough to tell that fewer than
# one in 10,000 fails; see load_tests/README.md.
load-restarts: $(READY)
	$(BIN)/python -m load_tests.users.with_engine --shape rolling-restart --tags orders --drivers 1 \
		--setting MALLARD_RETRY_S=600 --rate 180 --seconds 172 --slo "POST /v1/jobs:count>=30000,failures<1" $(LOAD_ARGS)

# Redis is killed ten times under 2,000 sockets, about four minutes; see load_tests/README.md.
outage: $(READY)
	$(BIN)/python -m load_tests.faults.outage $(OUTAGE_ARGS)

# An order service that never polls, while nodes and Redis are killed 20 times: 10,000 jobs, at most
# 20 minutes. docs/measurements/events.md has the last result.
.PHONY: hears-all
hears-all: $(READY)
	$(BIN)/python -m load_tests.faults.event_kills $(HEARS_ARGS)

# Redis fails over twenty times in each row, by Sentinel and in a cluster: killed, planned, and with
# the last writes lost; up to eight minutes a row. `make failover FAILOVER_ARGS=cluster:killed` runs
# one of them; docs/measurements/failover.md has the last result.
failover: $(READY)
	$(BIN)/python -m load_tests.faults.failover $(FAILOVER_ARGS)

# Every attack at once on an engine of its own, about three minutes; see load_tests/README.md.
attack: $(READY)
	$(BIN)/python -m load_tests.attacks $(ATTACK_ARGS)

# Everything beside its peers, one after the other: results, plots, docs/performance.md. It takes
# an hour (half of it five minutes of orders at two rates), on a machine that does nothing else;
# PostgreSQL with PostGIS is needed.
# `make bench BENCH_ARGS="match --drivers 1000"` measures a part; see load_tests/README.md.
bench: $(READY)
	$(BIN)/python -m load_tests.benchmarks $(BENCH_ARGS)

# Under three minutes: counts and ratios that noise does not move, held to their limits.
bench-quick: $(READY)
	$(BIN)/python -m load_tests.benchmarks.quick

# The README's two commands in a minimal Debian, as an ordinary user; root and debootstrap needed.
fresh-machine:
	.ci/minimal-debian

# Builds and tests clients/typescript; Node.js needed. `make test` skips what needs the built package.
typescript: $(READY)
	.ci/typescript

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY)
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/python -m mallard_engine.contract.documents
	$(BIN)/python docs/demo_screen.py
	$(BIN)/python -m mallard_engine.reference
	$(BIN)/python -m load_tests.benchmarks.pages.report

# The pages, from engine/pages into engine/mallard_engine/pages, where they are committed: a wheel and
# `make demo` need no Node. Node 20.19 or later.
web:
	cd engine/pages && npm ci --silent --ignore-scripts --no-audit --no-fund && npm run --silent build

# The build backend is in the lock, so the editable install fetches nothing that is not pinned.
$(READY): requirements.lock clients/python/pyproject.toml engine/pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		-e clients/python -e engine
	touch $(READY)

# If the collection fails, its last lines are shown; `make test` fails with the same error.
$(COMPILED): $(READY)
	$(BIN)/pytest --collect-only --quiet >$(VENV)/collected || tail -n 30 $(VENV)/collected
	touch $(COMPILED)

# One lock for every platform and every Python from 3.11 on, made in an environment of its own.
# What is pinned stays as it is; `make lock LOCK_ARGS=--upgrade` takes the newest of everything.
lock:
	rm -rf .lock-venv
	$(PYTHON) -m venv .lock-venv
	.lock-venv/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	.lock-venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-header --no-config $(LOCK_ARGS) -o requirements.lock requirements.in
	rm -rf .lock-venv

clean:
	rm -rf $(VENV) .lock-venv .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
