"""Adapters: each translates one training loop into hookcore's events. Importing this package imports no framework."""
