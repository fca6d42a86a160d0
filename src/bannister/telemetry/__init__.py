"""Telemetry: a program of its own that turns Envoy's access log into one summary per instance and second.

    Envoy ── access log entries (gRPC) ──▶ entry ──▶ fold ──┐
      ▲                     heartbeats ──▶ coverage ──┤
      └── a heartbeat request every 0.2 s             └──▶ outbox ──▶ control plane (JSON lines, acknowledged)

It runs apart from the control plane, so that ten thousand requests a second do not slow a decision, and each survives the other's absence.
"""
