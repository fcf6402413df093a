"""Adapters: each translates one training loop into hookcore's events. Importing this package imports no framework.

PYTEST_DONT_REWRITE: hookcore has a pytest plugin, and pytest would warn of a session in which this was imported before.
"""
