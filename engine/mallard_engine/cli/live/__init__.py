"""What the commands that call a running engine share."""
