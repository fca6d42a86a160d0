"""Domain values to Envoy's messages: one file per kind of resource, all of them pure functions."""
