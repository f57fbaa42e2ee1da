"""The dispatch engine: it finds a driver for every job."""
