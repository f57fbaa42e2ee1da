"""Markets, malls, gates, opening hours, polygons, distances and the geofence."""
