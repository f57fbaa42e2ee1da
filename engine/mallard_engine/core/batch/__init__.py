"""A market's batch as an assignment problem: problem, cost matrix, solver, bundling."""
