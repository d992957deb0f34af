"""What every room builds its networks from: blocks, number formats, segmenters."""
