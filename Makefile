PYTHON ?= python3
RUNTIME := $(PYTHON) deploy/local/bootstrap.py requirements.txt --
DEV := $(PYTHON) deploy/local/bootstrap.py requirements-dev.txt --

.DEFAULT_GOAL := help
.PHONY: help run demo native test check fmt bench bench-quick bench-routing bench-routing-quick soak lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-20s %s\n", $$1, $$2}' Makefile

run: ## install what is needed and serve (Ctrl-C stops)
	@exec $(RUNTIME) -m deploy.local.supervisor

demo: ## the same, with three simulated nodes and commands to try
	@exec $(RUNTIME) -m deploy.local.demo

native: ## compile the path of a request now (make run does it in the background)
	@$(RUNTIME) -m deploy.local.native

test: ## install what the tests need, and run them all
	@$(DEV) tests/run.py

check: ## lint, types, import contracts, spelling
	@$(DEV) deploy/local/check.py

fmt: ## put the code into its one form
	@$(DEV) deploy/local/check.py --fix

bench: ## CPU, delay and memory beside every peer; fails when a budget is broken
	@$(DEV) tests/bench/run.py

bench-quick: ## the same, ours and nginx only, in 70 seconds
	@$(DEV) tests/bench/run.py --quick

bench-routing: ## how well we and every peer choose, on sockets and in the simulator; fails when a bar is broken (20 minutes)
	@$(DEV) tests/bench/choosing.py sockets
	@$(DEV) tests/bench/choosing.py simulator

bench-routing-quick: ## the same: ours and nginx, few scenarios (4 minutes)
	@$(DEV) tests/bench/choosing.py sockets --quick
	@$(DEV) tests/bench/choosing.py simulator --quick

soak: ## five minutes of requests and accidents, with figures (SOAK_S=1800: longer)
	@$(DEV) tests/system/soak.py

lock: ## resolve the dependencies anew
	@$(DEV) deploy/local/lock.py

clean: ## remove what was installed and generated, not the state in var/
	@rm -rf .venv .venv-clients .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
