"""Sources of travel times beside the straight line: roads in process, and an OSRM table service."""
