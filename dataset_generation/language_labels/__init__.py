"""Labels in words made from recorded frames: questions and answers, and commentary."""
