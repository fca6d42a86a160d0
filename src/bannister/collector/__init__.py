"""The control plane's side of capturing: says what is to be captured, and brings the captured records to the object store."""
