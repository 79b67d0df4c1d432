# TailTwin. `make help` lists what there is; `make demo` and `make test` set up all they need.
PYTHON ?= python3
PROFILE ?= firmware_profiles/acms_x86.toml
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test check conformance edge-image bench soak prove fit deck clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): requirements/all.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or newer is needed, this is {v.major}.{v.minor}; try make PYTHON=python3.12")'
	@echo "setting up .venv (once; a minute or two)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/all.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## fly a tail twice: stand to lake, explained, calibrated, a signed model back (5 minutes)
	@$(BIN)/tailtwin-hil run hil/scenarios/demo.toml --out var/demo

test: $(READY) ## every test, two at a time; the end-to-end ones one by one
	@$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/e2e
	@$(BIN)/python -m pytest tests/e2e

check: $(READY) ## ruff, mypy strict, import-linter
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

conformance: $(READY) ## the update client in tuf-conformance: SUITE=a checkout of theupdateframework/tuf-conformance (2 minutes)
	@test -d "$(SUITE)/tuf_conformance" || { echo "make conformance SUITE=DIR: no checkout of theupdateframework/tuf-conformance at '$(SUITE)'"; exit 2; }
	@tests/conformance/run.sh "$(SUITE)"

bench: $(READY) ## edge and ground beside their budgets, codecs, models, full fidelity (18 minutes)
	@$(BIN)/python -m bench.codec
	@$(BIN)/python -m bench.models --json var/bench/models.json
	@$(BIN)/python -m bench.edge
	@$(BIN)/python -m bench.ground

soak: $(READY) ## an hour of flights through the same processes: nothing may grow
	@$(BIN)/python -m bench.soak --hours 1

prove: $(READY) ## 10,000 power cuts, 1,000 kills, a cut at every call on the slots, every fuzzer, detection, five healthy flights (an hour)
	@$(BIN)/python -m bench.powercut
	@$(BIN)/python -m bench.kills
	@$(BIN)/python -m bench.slotcuts
	@$(BIN)/python -m bench.fuzz --seconds 10
	@$(BIN)/python -m bench.detect --flights 200 --each 20 --json var/bench/detect.json
	@for seed in 31 32 33 34 35; do \
	  $(BIN)/tailtwin-hil run hil/scenarios/healthy.toml --seed $$seed --out var/healthy-$$seed || exit 1; done

fit: $(READY) ## the type's ROMs, the baselines of the bench's engines and the anomaly score again (20 minutes; rewrites firmware_profiles)
	@for v in v1 v2; do $(BIN)/python -m ground.calibrate.type_rom firmware_profiles/models/egt_rom_$$v.toml \
	  --out firmware_profiles/models/egt_rom_$$v.json || exit 1; done
	@$(BIN)/python -m hil.fit rows full:102 full:105 full:107 full:120 full:201 full:203 --out var/fit/rows --cache var/cache
	@for esn in 894101 894102; do $(BIN)/tailtwin-ground baseline fit --rows var/fit/rows/$$esn.npz \
	  --out firmware_profiles/engines/$$esn.json || exit 1; done
	@$(BIN)/python -m hil.fit.anomaly firmware_profiles/models/engine_anomaly_v1.toml \
	  --out firmware_profiles/models/engine_anomaly_v1.json --cache var/cache

deck: $(READY) ## the plant's engine and the reference points again, by pyCycle in an environment of its own (an hour)
	@$(PYTHON) -m venv var/pycycle
	@var/pycycle/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/pycycle.txt
	@var/pycycle/bin/python hil/plant/pycycle/make_deck.py
	@var/pycycle/bin/python hil/plant/pycycle/points.py

edge-image: $(READY) ## what goes aboard for PROFILE=..., built twice and compared, with its bill of materials
	@$(BIN)/python -m deploy.image --profile $(PROFILE) --twice --resolves aarch64
	@TAILTWIN_IMAGE=var/image $(BIN)/python -m pytest tests/unit/deploy/test_image_contents.py

clean: ## remove what was made, the environment included
	rm -rf .venv var build *.egg-info
