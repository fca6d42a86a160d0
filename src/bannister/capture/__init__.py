"""Capture: a program of its own that observes exchanges, writes them down and compares a shadow's answers with production's.

    Envoy ── a stream for each exchange (gRPC, ext_proc) ──▶ assembly ──┬─▶ spool: JSON Lines on the disk ──▶ control plane ──▶ object store
      ▲                                                                 ├─▶ pairing ─▶ compare ─▶ fold ──┐
      └── a heartbeat request every second                              └─▶ counts ──────────────────────┴─▶ outbox ──▶ control plane

Envoy only tells it; no request ever waits for it. It runs apart from telemetry and the control plane, so that neither summaries nor decisions wait
behind bodies. What it is to do the control plane tells it (`bannister.domain.capture.instructions`); without one it goes on with the last it was told.
"""
