"""Folding: the algebra of merging layers, the graph it works on, and the proof that the result is equal."""
