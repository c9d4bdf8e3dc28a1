"""Control groups of containers: making them, limiting them, counting in them, and ending what is in them."""
