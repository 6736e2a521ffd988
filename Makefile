# Everything a fresh checkout needs: each target sets up what it uses.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-slow bench check clean

demo: $(VENV)/.core
	$(BIN)/spinward train ppo CartPole-v1 --seeds 4 --steps 200000 --name demo --out runs/$$(date +%Y%m%d-%H%M%S)
	@run=$$(ls -d runs/*/demo | tail -n 1) && \
	$(BIN)/spinward plot $$run && \
	$(BIN)/spinward watch $$run && \
	$(BIN)/spinward evaluate $$run && \
	echo && echo "picture: $$run/curve.png" && echo "video:   $$run/videos/seed-0.gif" && \
	echo "report:  $$run/report.html   (open it in a browser)"

test: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 -m "not slow"

test-slow: $(VENV)/.test
	$(BIN)/pytest -n 2 -m slow

bench: $(VENV)/.test
	benchmarks/setup.sh
	$(BIN)/python -m benchmarks

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.core: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test,mujoco,envpool,atari,gymnax]'
	@touch $@ $(VENV)/.core

clean:
	rm -rf $(VENV) .venv-bench .venv-newest build *.egg-info
