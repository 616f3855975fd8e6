"""Controllers: the expert's and the driving model's."""
