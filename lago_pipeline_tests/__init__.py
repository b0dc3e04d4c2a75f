"""Tests, in the order of the package: each states a promise in a sentence."""
