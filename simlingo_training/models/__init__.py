"""SimLingo's network, its losses and its checkpoints."""
