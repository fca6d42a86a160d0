"""A model server for the tests: `model_server.py MODE PORT`; each mode misbehaves in its own way."""

import http.server
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

mode, port = sys.argv[1], int(sys.argv[2])
host = sys.argv[3] if len(sys.argv) > 3 else "127.0.0.1"
#: Memory that it was told to take.
held = []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if mode != "unwell" else 500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        print(self.command, self.path, self.headers["Content-Type"], self.headers["Accept"], body.decode(), flush=True)
        time.sleep(60 if body == b"wait" else 0)
        if body == b"end":
            os._exit(7)
        if body == b"hang up":
            self.close_connection = True
            return
        if body == b"more":  # 300 MiB, of which each page is touched
            held.append(bytearray(b"x" * 1024) * (300 * 1024))
        self.send_response(500 if body == b"fail" else 200)
        answer = b"nothing for\tit \x1b[0m" if body == b"fail" else b"{}"
        if body == b"in pieces":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"2\r\n{}\r\n0\r\n\r\n")
            return
        if body != b"without a length":
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


def stop(number, frame):
    print("SIGTERM seen", flush=True)
    sys.exit(0)


if mode == "broken":
    print("Traceback (most recent call last):")
    print("ModuleNotFoundError: No module named 'flights'")
    sys.exit(3)
if mode == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, stop)
if mode == "silent":
    print("still loading", flush=True)
    time.sleep(600)
if mode == "hungry":
    held.append(bytearray(b"x" * 1024) * (300 * 1024))
    time.sleep(600)
if mode == "environment":
    print(sorted(os.environ), Path.cwd(), flush=True)
if mode == "family":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(f"child {child.pid}", flush=True)
if mode == "chatty":
    for number in range(20_000):
        print(f"line {number} " + "x" * 80)
    print("the last line", flush=True)
http.server.ThreadingHTTPServer((host, port), Handler).serve_forever()
