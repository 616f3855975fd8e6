"""SimLingo: model, data, training, open-loop evaluation and inference."""
