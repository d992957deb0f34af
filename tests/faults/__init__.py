"""Faults: what a command must survive, and the means to bring it about at every moment (``make faults``)."""
