"""A node among others: how they and operators know of it, and how it leaves."""
