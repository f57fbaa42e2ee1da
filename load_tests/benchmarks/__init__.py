"""Benchmarks beside peers: samples, their results files, and the document made from these."""
