"""The demo: two syncs from the demo warehouse to a Lago on this machine."""
