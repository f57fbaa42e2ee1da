"""The archive: every job that has ended, whole, in files and in PostgreSQL."""
