"""One guarded change of an endpoint from the blue fleet to the green one."""
