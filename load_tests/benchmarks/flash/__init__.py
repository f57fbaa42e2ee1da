"""A flash sale at one mall, and what other markets notice of it."""
