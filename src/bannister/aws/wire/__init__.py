"""AWS's wire formats, driven by botocore's service models.

    models      the models, loaded when first used
    body        a request's bytes: bounded, decompressed
    values      the walk over the values of a shape, which the protocols share
    protocol    what a protocol is to the gateway; its implementations are
    json        JSON 1.0 and 1.1
    query       query: a form in, XML out
    rpc_v2_cbor Smithy RPC v2, in CBOR
    cbor        bytes to plain values and back, bounded
    rest_json   REST-JSON: how the SageMaker runtime answers errors
    validate    every constraint of a shape, checked on values that already have the right types
    pattern     a model's (Java) regular expressions, for Python
    fault       what each error of `bannister.errors` is called on the wire, per service

One protocol is one file that turns bytes into the values of `bannister.aws.call.Call`, and values and faults into an `Answer`;
everything between does not know which protocol is spoken, so an operation is defined once for all three.
"""
