"""What a node costs while nothing happens: waiting jobs, idle sockets; and when sockets return."""
