"""The built-in model server: `python -m bannister.runtime`, run by the model's own interpreter.

It follows the contract of SageMaker's inference toolkit. It needs the standard library and numpy, plus whatever the model needs,
and imports nothing else of Bannister: the interpreter that runs it may be another one, from Python 3.9 on.

    messages    HTTP/1.1 requests and responses on a socket
    server      connections: one thread each, kept alive, drained on SIGTERM
    content     content types: bytes to data, predictions to bytes
    artifact    what the model's folder holds: user code, or a model file that is loaded by itself
    service     `/ping` and `/invocations`, on top of all of these
"""
