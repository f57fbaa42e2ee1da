"""What other people's programs import or run: driver and order clients."""
