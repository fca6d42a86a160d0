"""The supervisor: keeps the instances that endpoints want, and takes away those they no longer want."""
