"""The images that drivers upload as proof: their content, their files, their links."""
