"""On the air: symbols as a sound or as I/Q samples, and back; numpy and scipy inside, torch nowhere."""
