"""Shipped weights: one safetensors file and one model card each, and the only code that reads or writes them."""

from semcast.weights.store import Checkpoint, available, find, folders, load, load_version, save

__all__ = ["Checkpoint", "available", "find", "folders", "load", "load_version", "save"]
