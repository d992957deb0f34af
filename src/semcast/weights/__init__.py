"""Shipped weights: one safetensors file and one model card each, and the only code that reads or writes them."""

from semcast.weights.store import Checkpoint, available, find, load, save

__all__ = ["Checkpoint", "available", "find", "load", "save"]
