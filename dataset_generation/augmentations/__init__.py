"""Paraphrases of every sentence the labels use: made by a grammar, extended by a language model, checked before use."""
