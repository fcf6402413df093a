"""Adapters: each translates one training loop into hookcore's events. Importing this package imports no framework.

PYTEST_DONT_REWRITE: hookcore has a pytest plugin, and pytest would warn if this package was imported before the session began.
"""
