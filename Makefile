# make demo   set-up, real servers, sample news, Dagster UI
# make test   set-up, lint, types, the manual, all tests
# make bench  the benchmarks (benchmarks/README.md)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_OPTIONS ?=

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test lint test-unit test-slow test-services test-faults faults-full fuzz fuzz-atheris interleavings soak hosts host-tools chart test-ui screenshots docs bench bench-full format lock audit tools clean

demo: $(VENV)/.demo
	@$(MAKE) --no-print-directory tools || echo "Going on without: the demo says below what it uses instead."
	@command -v java >/dev/null || $(BIN)/pip install -q --require-hashes -r requirements/embedded.txt
	$(BIN)/kafka-ingest demo $(DEMO_OPTIONS)

test: lint docs test-unit test-slow test-services test-faults test-ui

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# No servers, and quick.
test-unit: $(VENV)/.dev
	$(BIN)/pytest -q -n auto -m "not slow and not services and not faults and not ui"

# No servers: whole Dagster runs, processes of their own, properties with hundreds of examples.
test-slow: $(VENV)/.dev
	@command -v systemd-analyze >/dev/null || .ci/install systemd
	$(BIN)/pytest -q -n auto -m slow

# Real Kafka, MySQL and MariaDB, started by the tests.
test-services: $(VENV)/.dev tools
	$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m services

# Processes and servers killed on purpose.
test-faults: $(VENV)/.dev tools
	$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "faults and not scheduled"

# Scheduled, hours: every fault at every step on both databases, with the package's own timeouts; 200 kills in a row.
faults-full: $(VENV)/.dev tools host-tools
	KAFKA_INGEST_FAULTS=full $(BIN)/pytest -q -s -m "faults and not chart"

# Scheduled, minutes: inputs nobody would send, by seeded mutation. FUZZ_SEED=N repeats a find.
FUZZ_INPUTS ?= 10000000
FUZZ_MINUTES ?= 0
FUZZ_SEED ?=
fuzz: $(VENV)/.dev
	$(BIN)/python -m kafka_ingest_tests.fuzz --inputs $(FUZZ_INPUTS) --minutes $(FUZZ_MINUTES) $(if $(FUZZ_SEED),--seed $(FUZZ_SEED))

# The same, coverage-guided: what reaches a new branch is changed further. A find is a file crash-…; FUZZ_CORPUS keeps inputs.
FUZZ_CORPUS ?=
fuzz-atheris: $(VENV)/.dev
	$(BIN)/pip install -q -e '.[fuzz]'
	$(BIN)/python -m kafka_ingest_tests.fuzz.guided --inputs $(FUZZ_INPUTS) --minutes $(FUZZ_MINUTES) $(if $(FUZZ_SEED),--seed $(FUZZ_SEED)) $(if $(FUZZ_CORPUS),--corpus $(FUZZ_CORPUS))

# Scheduled, an hour: writers on one database, stopped at every step and gone on with in an order by seed, killed and cut off;
# compared with what the messages alone say. INTERLEAVINGS_SEED=N repeats a find.
INTERLEAVINGS ?= 20000
INTERLEAVINGS_SEED ?=
interleavings: $(VENV)/.dev tools
	for database in mysql mariadb postgresql; do \
		$(BIN)/python -m kafka_ingest_tests.interleavings --database $$database --examples $(INTERLEAVINGS) \
			$(if $(INTERLEAVINGS_SEED),--seed $(INTERLEAVINGS_SEED)) || exit 1; \
	done

# Scheduled, an hour: a stream that never stops under a real Dagster, and faults at random. SOAK_SEED=N repeats a find.
SOAK_MINUTES ?= 60
SOAK_SEED ?=
soak: $(VENV)/.dev tools
	$(BIN)/python -m kafka_ingest_tests.soak --minutes $(SOAK_MINUTES) $(if $(SOAK_SEED),--seed $(SOAK_SEED))

# Scheduled, an hour: a stream over several hosts (network namespaces, as root) that vanish, stand still and are cut off, under Celery's
# and Docker's run launchers; the deployment of docs/compose, its image built. It installs those with pip, Redis and Docker with apt.
# HOST_TRIALS=N repeats each trial of hosts.
HOST_TRIALS ?= 1
hosts: $(VENV)/.dev tools host-tools
	KAFKA_INGEST_HOST_TRIALS=$(HOST_TRIALS) $(BIN)/pytest -q -s -m "not chart" kafka_ingest_tests/faults/test_hosts.py kafka_ingest_tests/faults/test_celery.py \
		kafka_ingest_tests/faults/test_docker.py kafka_ingest_tests/faults/test_kubernetes.py kafka_ingest_tests/faults/test_compose.py

host-tools: $(VENV)/.dev
	$(BIN)/pip install -q -e '.[hosts]'
	.ci/install redis-server docker.io docker-compose debootstrap iproute2

# The values for Dagster's chart, rendered by helm: DAGSTER_CHART is its folder, helm/dagster in a clone of Dagster.
DAGSTER_CHART ?=
chart: host-tools
	KAFKA_INGEST_DAGSTER_CHART=$(DAGSTER_CHART) $(BIN)/pytest -q -m chart

# A real Chromium against a real dagster dev. `make screenshots` keeps its pictures for the README.
test-ui: $(VENV)/.dev tools
	@command -v chromium >/dev/null || .ci/install chromium
	$(BIN)/pytest -q -m ui

screenshots: export KAFKA_INGEST_SCREENSHOTS = docs/images
screenshots: test-ui

# README and docs/ as a site in build/site; a link or an anchor that leads nowhere, or a page that no menu names, is an error.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Ratios on this machine: three minutes, or all of it with peers, freshness, scale and an hour's trickle in about three hours.
bench: $(VENV)/.dev tools
	$(BIN)/python -m benchmarks

bench-full: $(VENV)/.dev tools
	$(BIN)/pip install -q -e '.[bench]'
	$(BIN)/python -m benchmarks --full

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# What only the system's packages have: the Python venv module, and Java with Maven for Apache Kafka.
tools:
	@command -v java >/dev/null && command -v mvn >/dev/null || .ci/install default-jre-headless maven

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || .ci/install python3-venv
	$(PYTHON) -m venv $(VENV)

# Everything from the lock, each file by its hash; then this package, which needs nothing more.
$(VENV)/.demo: pyproject.toml requirements/demo.txt | $(VENV)/bin/pip
	$(BIN)/pip install -q --require-hashes -r requirements/demo.txt
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: pyproject.toml requirements/dev.txt | $(VENV)/bin/pip
	$(BIN)/pip install -q --require-hashes -r requirements/dev.txt
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.docs: pyproject.toml requirements/docs.txt | $(VENV)/bin/pip
	$(BIN)/pip install -q --require-hashes -r requirements/docs.txt
	$(BIN)/pip install -q --no-deps --no-build-isolation -e .
	@touch $@

# After a change of dependencies in pyproject.toml, and now and then: the newest versions they allow.
lock: $(VENV).tools/bin/uv
	.ci/lock $(VENV).tools/bin/uv

# Known vulnerabilities of what is locked. Exit code 75: the source of advisories cannot be reached.
audit: $(VENV).tools/bin/pip-audit
	.ci/audit $(VENV).tools/bin/pip-audit requirements/dev.txt

$(VENV).tools/bin/%:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || .ci/install python3-venv
	test -d $(VENV).tools || $(PYTHON) -m venv $(VENV).tools
	$(VENV).tools/bin/pip install -q $*

clean:
	rm -rf $(VENV) $(VENV).tools build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
