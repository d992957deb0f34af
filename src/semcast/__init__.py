"""semcast: send the meaning of an image over channels too small or too noisy for the image itself."""
