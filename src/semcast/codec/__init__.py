"""RL-ASC (Huang et al., 2023): semantic concepts, learned bit allocation, a decoder that paints."""
