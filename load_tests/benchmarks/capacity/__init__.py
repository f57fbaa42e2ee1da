"""How many full cycles a process carries, and what one costs."""
