"""HTTP calls: requests without I/O, and the transports that carry them out."""
