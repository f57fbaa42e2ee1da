"""What happens when: rounds, offers, deadlines."""
