"""Handlers of the operations by which operators control a deployment."""
