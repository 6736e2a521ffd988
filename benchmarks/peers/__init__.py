"""The peers, one script each. They run as subprocesses under `.venv-bench`, without Spinward."""
