"""Find plugins, inspect them, and read the spec strings and configurations that ask for them."""
