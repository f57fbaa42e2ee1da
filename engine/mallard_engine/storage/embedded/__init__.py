"""The embedded server: process, data folder and log syncs."""
