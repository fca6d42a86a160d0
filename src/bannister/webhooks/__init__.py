"""Telling addresses of the user's by a POST of JSON: one attempt (`post`), and attempts until it is taken or given up (`attempts`)."""
