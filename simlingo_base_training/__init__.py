"""SimLingo-Base (CarLLaVA): path and waypoints from one image without language; only what differs from SimLingo."""
