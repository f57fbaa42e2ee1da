"""The ports by which operators control a deployment."""
