"""Action dreaming: alternative ego futures for recorded frames, with instructions that ask for them and whether to obey.

Other agents replay their recorded motion; the ego is a kinematic bicycle under the expert's controllers,
on a changed path or with a changed speed command (Renz et al., "SimLingo", 2025, arXiv 2503.09594, section 3.2).
"""
