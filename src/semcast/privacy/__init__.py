"""Private parts never leave the sender: the filter, the knowledge base, the guarantee."""
