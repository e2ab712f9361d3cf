"""Estimators of Shapley values and interactions from the coalitions that were evaluated: one file each."""
