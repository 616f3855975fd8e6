"""What one route shares: clock, actors, context, switches, and the behaviours scenarios are built of."""
