"""The publisher: the only caller of Envoy. Plans and observed instances in, one whole snapshot out, acknowledgements back."""
