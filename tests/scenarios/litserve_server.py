"""A LitServe server as its author would write it: `python litserve_server.py PORT`. It answers GET /health and POST /predict."""

import os
import sys

import litserve


class Multiplies(litserve.LitAPI):
    def setup(self, device):
        self.factor = float(os.environ["FACTOR"])

    def decode_request(self, request):
        return request["x"]

    def predict(self, x):
        return self.factor * x

    def encode_response(self, output):
        return {"output": output}


if __name__ == "__main__":
    server = litserve.LitServer(Multiplies(), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
