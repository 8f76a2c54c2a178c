"""A seeded simulator of vehicle buses: several cars, one drive each per capture, seven kinds of attack."""
