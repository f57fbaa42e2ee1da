"""When held jobs are expected: at the shops, at their doors, and while their driver moves."""
