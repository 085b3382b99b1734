# Two commands: `make demo` shows the whole way from a Keras model to a measured table, `make test` proves it.
BIN := .venv/bin
# local is this machine; emulated is an ARM board in QEMU, made for the occasion; others are of your inventory.
DEVICE ?= local
ifeq ($(DEVICE),emulated)
RECIPES ?= float32,int8,prune50-int8
else
RECIPES ?= float32,dynamic,int8,prune50-int8,svd-int8,student50-int8
endif

.PHONY: demo test lint clean

demo: .venv/.demo
ifeq ($(DEVICE),emulated)
	@scripts/setup.sh emulator
	@$(BIN)/python examples/digits.py demo
	@scripts/demo_emulated.sh $(RECIPES)
else
	@$(BIN)/python examples/digits.py demo
	@EDGEPRESS_DB=demo/edgepress.db $(BIN)/edgepress run demo/digits.keras --data demo/digits.npz \
		--recipe $(RECIPES) --device $(DEVICE) --cache demo/cache
endif

test: .venv/.dev
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	@$(BIN)/python -m pytest

lint: .venv/.dev
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format . && $(BIN)/mypy
	@$(BIN)/bandit -q -c pyproject.toml -r host agent converters

.venv/.demo .venv/.dev: pyproject.toml scripts/setup.sh
	@scripts/setup.sh $(subst .venv/.,,$@)

clean:
	@! [ -d demo/machines/emulated ] || EDGEPRESS_DEVICES=demo/devices.toml EDGEPRESS_MACHINES=demo/machines \
		$(BIN)/edgepress emulator destroy emulated
	rm -rf .venv demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
