"""The generative link (Han et al., 2023), image → codes → symbols and back."""
