"""What a browser shows: one module a tab, thin over the functions of :mod:`semcast.web`."""
