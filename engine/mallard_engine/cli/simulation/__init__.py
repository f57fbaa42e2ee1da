"""What the commands that simulate days share."""
