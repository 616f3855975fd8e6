"""SimLingo-Base, the driver without language: what differs from SimLingo."""
