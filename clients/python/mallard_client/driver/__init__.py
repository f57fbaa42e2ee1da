"""The client of a driver app: `DriverClient`, its socket, its state and its storage."""
