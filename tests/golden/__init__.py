"""Golden vectors: files, symbols and pictures that later versions must read and make alike (``make.py``)."""
