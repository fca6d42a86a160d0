"""Objects: what `s3://bucket/key` names."""
