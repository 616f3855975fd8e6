"""Map helpers: route planning, placing along lanes, junction entries and exits."""
