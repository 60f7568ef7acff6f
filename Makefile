# What a person types. Everything runs in .venv/, which `make setup` makes.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup engines demo demo-model demo_model test census test-census test-pandas3 test-benchmarks test-cloud test-fuzz test-nf test-faults test-faults-500 containers test-containers lint audit bench \
	bench-scale benchmark lock docs picture clean

ACTIVATE := source .venv/bin/activate

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 17

setup: ## install the locked packages and Nextflow into .venv/; does nothing the second time
	@setup/environment.sh
	@setup/nextflow.sh

demo: setup ## run two samples from raw file to report, with the bundled model: results/demo/
	@$(ACTIVATE); nextflow run . -profile demo; echo "make demo took $$SECONDS s"

# gemma2 is the bundled model; one of another family stays with its run.
FAMILY ?= gemma2
DEMO_MODEL_RUN = results/demo_model_$(FAMILY)
demo-model: setup ## train and evaluate the bundled model again, and put it into assets/: 15 minutes
	@$(ACTIVATE); nextflow run . -profile demo_model -resume --scratch_family $(FAMILY) --outdir $(DEMO_MODEL_RUN)
	@$(ACTIVATE); python benchmarks/install_demo_model.py $(DEMO_MODEL_RUN) \
		$(if $(filter gemma2,$(FAMILY)),assets/demo_model,$(DEMO_MODEL_RUN)/demo_model)
demo_model: demo-model

census: setup ## install what --input census://… needs into .venv-census/
	@setup/tools.sh census

engines: setup
	@if command -v mvn >/dev/null; then setup/nextflow.sh 24.10.5 25.04.4; \
	else echo 'test: no Maven, so only the installed Nextflow is tested'; fi

# Nextflow has a linter from 25.04 on. (25.04.4 finds an error, but fails to print it.)
lint: setup ## check style, layers and types of the Python code, and the syntax of the Nextflow code
	@$(ACTIVATE); ruff format --check .; ruff check .; PYTHONPATH=bin lint-imports; mypy
	@$(ACTIVATE); if nextflow help lint | grep -q ^Lint; then \
		nextflow lint -o concise main.nf modules subworkflows nextflow.config conf tests | grep -v ^Linting; fi

AUDITED = requirements.lock setup/*.lock containers/tools.lock containers/census/requirements.lock
# A clone of pypa/advisory-database (GitHub), for machines that reach no service of advisories.
ADVISORIES ?=
audit: setup ## check the locked packages for known vulnerabilities; needs the network, or ADVISORIES=FOLDER
	@$(ACTIVATE); if [ -n '$(ADVISORIES)' ]; then \
		python setup/advisories.py '$(ADVISORIES)' $(AUDITED); exit; fi; \
	for lock in $(AUDITED); do echo "$$lock"; \
		uv tool run --quiet pip-audit --requirement $$lock --disable-pip --require-hashes --strict || { \
		echo "audit: $$lock has the vulnerabilities above, or (ERROR) pip-audit reached no service that knows" \
			'them: then clone pypa/advisory-database where there is a network, and make audit ADVISORIES=FOLDER' >&2; \
		exit 1; }; done

# mypy takes one core for a minute the first time, the tests with pandas 3 the other.
test: engines ## run all tests except test-faults; with nf-test, if it is installed
	@$(MAKE) --no-print-directory --jobs 2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=line) lint test-pandas3
	@$(ACTIVATE); pytest --numprocesses 3 --no-loadscope-reorder
	@if [ -x .venv-benchmarks/bin/python ]; then $(MAKE) --no-print-directory test-benchmarks; fi

# Test files that import no torch and hold what pandas and anndata decide.
DATA_SIDE := data/columns data/readers data/obs/queries data/qc/qc data/splits/splits sentences/shards \
	results/merge results/predictions training/cells validation/bad_input validation/training
# What depends on neither is left to the other tests: damaged bytes, memory, open files, the last
# bit of sums (scanpy compiles its own for a minute), and most of the fuzz.
NEITHER := damaged_bytes or hold_the_sentences or files_may_be_open or to_the_bit
test-pandas3: setup ## test the data side with pandas 3 and the newest anndata: a minute, needs Python 3.12
	@setup/pandas3.sh
	@if [ -x .venv-pandas3/bin/python ]; then FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-15} \
		.venv-pandas3/bin/python -m pytest --numprocesses 2 -k 'not ($(NEITHER))' \
		$(foreach test,$(DATA_SIDE),tests/unit/$(dir $(test))test_$(notdir $(test)).py) tests/fuzz; fi

test-benchmarks: setup ## run cell-eval, cell-eval2, cz-benchmarks and cell-load on results (once set up, part of make test)
	@setup/tools.sh benchmarks
	@setup/tools.sh cell_load
	@.venv-benchmarks/bin/python -m pytest tests/tools
	@.venv-cell_load/bin/python -m pytest -n 0 tests/tools/test_cell_load.py \
		tests/unit/data/splits/test_written_state.py

test-cloud: engines ## run on S3 and AWS Batch, served on this machine (once set up, part of make test)
	@setup/tools.sh cloud
	@setup/nf_amazon.sh || echo 'test-cloud: SKIPPED where Nextflow would need its plugin for AWS' >&2
	@$(ACTIVATE); CLOUD=1 pytest tests/cloud

test-census: engines ## read cells from a Census made on this machine (once set up, part of make test)
	@setup/tools.sh census
	@$(ACTIVATE); pytest tests/census

test-fuzz: setup ## pass 3,000 random files through the data side, new ones each time: 20 minutes
	@$(ACTIVATE); FUZZ_EXAMPLES=3000 FUZZ_SEED=random pytest tests/fuzz

test-nf: setup ## test each module and the pipeline with nf-test (part of make test)
	@$(ACTIVATE); nf-test test --ci

test-faults: engines ## kill every step, fill the disk, damage shards, and resume: 4 minutes
	@$(ACTIVATE); FAULTS=1 pytest tests/pipeline/test_faults.py tests/pipeline/test_download.py

# SHARDS=20: the same in 9 minutes of two busy cores.
test-faults-500: engines ## disturb a run of 500 shards by every kind of fault, and resume
	@$(ACTIVATE); FAULTS=1 SHARDS=$${SHARDS:-500} pytest -s tests/pipeline/test_faults_at_scale.py

containers: ## build the images of all steps, with docker, podman or apptainer: containers/build
	@containers/build

test-containers: engines ## run the demo with and without the images: the same result
	@$(ACTIVATE); CONTAINERS=$${CONTAINERS:-all} pytest tests/pipeline/test_containers.py

bench: setup ## measure speed and memory: benchmarks/
	@$(ACTIVATE); cd benchmarks; for bench in 'embedding --model demo' 'embedding --model big' \
		'generation --model demo' 'generation --model big' \
		'training --model demo' 'training --model big' scaling precision trie gpu gpu_generation; do \
		echo "bench_$${bench%% *}.py $$bench"; python bench_$${bench%% *}.py $$(echo "$$bench " | cut -d' ' -f2-); done

# The folder that holds kang_harmony_2000x.h5ad and perturbench_devel.h5ad; NOTE goes into the table.
DATA ?= ../shared/data
benchmark: setup ## score predictions beside every baseline: docs/benchmarks.md, results/benchmark/, 20 minutes
	@$(ACTIVATE); benchmarks/honest/run.sh '$(DATA)' '$(NOTE)'

bench-scale: setup ## measure the data side with 50,000 to 1,000,000 cells: 25 GB of disk
	@$(ACTIVATE); cd benchmarks; python bench_sentences.py; python bench_scale.py; python bench_merge.py

lock: setup ## update requirements.lock from pyproject.toml, and the other locks
	@$(ACTIVATE); uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
		--generate-hashes --all-extras --custom-compile-command 'make lock' \
		pyproject.toml --output-file requirements.lock
	@$(ACTIVATE); uv pip compile --quiet --universal --python-version 3.12 --fork-strategy fewest \
		--generate-hashes --no-annotate --custom-compile-command 'make lock' \
		setup/pandas3.in --output-file setup/pandas3.lock
	@$(ACTIVATE); uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
		--generate-hashes --no-annotate --custom-compile-command 'make lock' \
		setup/benchmarks.in --output-file setup/benchmarks.lock
	@$(ACTIVATE); uv pip compile --quiet --universal --python-version 3.11 --no-deps \
		--generate-hashes --no-annotate --custom-compile-command 'make lock' \
		setup/cell_load.in --output-file setup/cell_load.lock
	@$(ACTIVATE); uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
		--generate-hashes --no-annotate --custom-compile-command 'make lock' \
		setup/cloud.in --output-file setup/cloud.lock
	@containers/lock

# All but the command lines of the steps, whose options docs/parameters.md has.
LIBRARY := $(filter-out c2sflow.steps,$(subst /,.,$(patsubst bin/%/__init__.py,%,$(wildcard bin/c2sflow/*/__init__.py))))
docs: setup ## write docs/parameters.md, the tables of docs/planning.md, and API pages: build/docs/
	@$(ACTIVATE); python docs/parameters.py; python docs/planning.py
	@$(ACTIVATE); PYTHONPATH=bin pdoc --docformat numpy --no-show-source --output-directory build/docs $(LIBRARY)
	@echo build/docs/index.html

picture: setup ## draw docs/images/: the pipeline, the packages, and results/demo (after make demo)
	@$(ACTIVATE); python docs/images/draw.py; python docs/images/draw_rooms.py; python docs/images/draw_results.py

clean: ## remove what runs and tests leave behind, but neither .venv/ nor results/
	rm -rf build work .nextflow .nextflow.log* .pytest_cache .ruff_cache .nf-test
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
