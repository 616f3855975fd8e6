"""Builds towns from readable descriptions: nodes, streets and cross-sections in, OpenDRIVE text out.

Descriptions use OpenDRIVE's frame: x metres east, y metres north, headings counter-clockwise, traffic on the right.
"""
