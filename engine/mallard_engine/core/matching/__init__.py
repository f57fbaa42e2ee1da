"""Ranking of candidates: eligibility, capacity, travel time, cost, acceptance, fairness."""
