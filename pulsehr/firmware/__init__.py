"""A fitted student network as integer C for a microcontroller."""
