"""Small drivers for vehicles that scenarios control themselves."""
