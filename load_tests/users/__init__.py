"""Locust users, load shapes and the run around them."""
