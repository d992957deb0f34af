"""On the air: symbols as sound or as samples of a software radio, and back out of a recording."""
