"""What only the server needs of the contract: operations, limits, the generated documents."""
