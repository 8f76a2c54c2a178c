"""Scripts that measure a machine; sent there as text, so they need nothing but Python. Each prints one line of JSON."""
