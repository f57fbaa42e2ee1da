"""The driver app's side: `DriverClient`, its socket, its state and its storage."""
