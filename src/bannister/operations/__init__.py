"""Use cases: one transport-free function per verb. The AWS door, and later the console's service, are translations of these."""
