"""How a process that watches the proxy tells the control plane what it saw, and how far it can vouch for that.

    proxy ── what it sees ──▶ watching process ── reports (JSON lines, acknowledged) ──▶ control plane
      ▲                          │    coverage, outbox, report server                       feed
      └── heartbeats ────────────┘

Telemetry and capture are such processes. Each has its own reports; running, numbering, acknowledging, repeating and vouching are the same for both.
"""
