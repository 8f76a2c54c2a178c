"""``candor cluster doctor``: each check does on the cluster what candor will do there, and measures what comes of it."""
