"""Nights of the benchmark matrix: what is due, what came of it, what it says, and how it is told."""
