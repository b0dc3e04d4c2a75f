"""The demo: a small usage warehouse with planted mistakes, and what a local Lago needs to bill it.

Nothing of it is imported by the pipeline itself. The data is made up, the same on every machine, and is
meant for a Lago on loopback only.
"""
