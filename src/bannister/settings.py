"""Every setting and every bound of Bannister, in one frozen value, each with its unit in its name.

Read once at start, in this order, the later winning: the defaults below, `bannister.toml` in the data directory, environment
variables `BANNISTER_<NAME>` (upper case). An unknown name, or a value of the wrong type or out of its bounds, is refused with a sentence.

The type of a setting also bounds it. Counts and sizes (`int`) are at least 1, lengths of time (`float`) at least a millisecond; what 0 means is
said where it may be 0.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from bannister.address import cut, is_whole
from bannister.errors import Invalid

#: A socket's path may have about 100 characters (macOS: 104), its name included.
SOCKET_FOLDER_CHARACTERS_MAX = 80
#: Addresses that can be told of events.
EVENT_WEBHOOKS_MAX = 16

#: The data directory, where no option names it; also in the environment of every process that Bannister starts.
DATA_DIR_VARIABLE: Final = "BANNISTER_DATA_DIR"
#: In the environment of a part: its name.
PART_VARIABLE: Final = "BANNISTER_PART"
#: In the environment of an instance: its id. Written by `bannister.instances`.
INSTANCE_VARIABLE: Final = "BANNISTER_INSTANCE"
#: Of a model's own environment (`bannister.runtime`, `bannister.domain.warmup`).
_OF_MODELS: Final = ("BANNISTER_RUNTIME_THREADS", "BANNISTER_WARMUP")
_NOT_SETTINGS: Final = frozenset({DATA_DIR_VARIABLE, PART_VARIABLE, INSTANCE_VARIABLE, *_OF_MODELS})
#: Of its heap's bound: where Envoy refuses requests, where copies for shadows are no longer made, and what capture and copies must leave production below the first.
PROXY_SHEDDING_SHARE: Final = 0.95
PROXY_COPIES_SHARE: Final = 0.8
PRODUCTION_SHARE: Final = 0.25

#: What Kubernetes puts into every container beside a Service whose name begins with "bannister".
_OF_KUBERNETES: Final = re.compile(r"BANNISTER_(\w+_)?(SERVICE_(HOST|PORT\w*)|PORT(_\d+_(TCP|UDP|SCTP)\w*)?)", re.ASCII)

# Types of settings with bounds of their own (`_KINDS`); `int` and `float` have theirs, too.
Port = int
Niceness = int
IntOrZero = int
FloatOrZero = float


class Timing(StrEnum):
    """When metrics are published and alarms evaluated."""

    #: Each second, over periods that slide; alarms of a running deployment as soon as their outcome is certain.
    BANNISTER = "bannister"
    #: As AWS does: endpoint metrics each minute, alarms at the end of aligned periods.
    AWS = "aws"


class Switch(StrEnum):
    """Whether something is done at all."""

    ON = "on"
    OFF = "off"


class Pull(StrEnum):
    """When the engine fetches the image of a container."""

    #: When it does not have it.
    MISSING = "missing"
    #: For each new fleet.
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Settings:
    """One process's view of the configuration. Immutable; passed down, never looked up."""

    data_dir: Path
    #: The one port, on loopback, for the API and for invocations.
    port: Port = 3594
    #: Appears in ARNs and messages. AWS derives the account from the access key; here there is one.
    account_id: str = "000000000000"
    region: str = "us-east-1"

    # --- instances
    #: Ports for instances, first and last; below Linux's ephemeral range (32768).
    instance_port_first: Port = 20000
    instance_port_last: Port = 29999
    #: AWS: ContainerStartupHealthCheckTimeoutInSeconds, where a variant does not set it.
    startup_timeout_seconds_default: float = 480.0
    #: A model that ends this many times before it was ever healthy has failed.
    startup_attempts_max: int = 3
    #: How many instances of one group may be starting at the same time (starting green must not hurt blue).
    startup_parallel_max: int = 2
    #: Niceness of a starting instance, 0 to 19: it leaves the processor to those that serve, yet must start on a busy machine.
    startup_niceness: Niceness = 5
    #: … and yields for this long at most (0: not at all).
    startup_yield_seconds: FloatOrZero = 10.0
    restart_backoff_seconds_min: float = 0.2
    restart_backoff_seconds_max: float = 30.0
    ping_timeout_seconds: float = 2.0
    #: An answer that takes longer is awaited before a bake is over.
    ping_overdue_seconds: float = 0.5
    ping_interval_starting_seconds: float = 0.02
    #: SIGTERM, then SIGKILL after this long (AWS: 30 s; 0: at once).
    stop_grace_seconds: FloatOrZero = 30.0
    #: In-flight requests of a group that no longer gets new ones may take this long.
    drain_timeout_seconds: float = 75.0
    #: … and this long where they are still under way after that: then they are streams (`stream_timeout_seconds`). A shadow's have `shadow_timeout_seconds`.
    stream_drain_timeout_seconds: float = 480.0
    instance_log_bytes_max: int = 4 * 1024 * 1024
    #: … which are measured this often.
    instance_log_check_seconds: float = 1.0
    #: Lines of an instance's log that go into a FailureReason.
    failure_log_lines: int = 12
    #: The logs of this many instances are kept after they are gone.
    past_instance_logs_max: int = 50
    #: `on`: an instance has the cores and the memory of its instance type, as far as the machine has more; `off`: all of the machine.
    instance_limits: Switch = Switch.ON
    #: What instances use of their memory is looked at this often.
    instance_memory_check_seconds: float = 1.0
    #: Requests with which a model may be warmed up, each counted as often as it is sent; the bytes of the file that holds them.
    warmup_requests_max: int = 1000
    warmup_bytes_max: int = 16 * 1024 * 1024
    #: All of them together may take this long, and no longer than is left of the time to start.
    warmup_timeout_seconds: float = 300.0
    #: Where images without a row in images.toml run as containers: the path of Docker's or Podman's socket, `auto` to look for it, `none` for nowhere.
    container_engine: str = "auto"
    container_pull: Pull = Pull.MISSING
    container_pull_timeout_seconds: float = 1800.0
    artifact_bytes_max: int = 20 * 1024**3
    artifact_files_max: int = 100_000
    #: A `code/requirements.txt` is installed within this long, or the instances fail. No part of their start-up time.
    environment_build_timeout_seconds: float = 900.0
    #: Environments that are built at the same time; more wait.
    environment_builds_parallel_max: int = 2
    #: On the disk, all environments together. Of more, those that no instance uses are removed, the longest unused first; what does not fit beside those in use is not built.
    environments_bytes_max: int = 20 * 1024**3
    #: Whether what is being built keeps within its bounds is looked at this often.
    environment_check_seconds: float = 5.0

    #: Most instances that one variant may ask for.
    instances_per_variant_max: int = 64

    # --- invocations
    invocation_timeout_seconds: float = 60.0
    invocation_body_bytes_max: int = 25 * 1024 * 1024
    #: A streamed answer (InvokeEndpointWithResponseStream) may take this long in all (AWS: 8 minutes).
    stream_timeout_seconds: float = 480.0
    #: A streamed answer that is not over then is cut off this much later: its caller has been told why, if the model was still sending.
    stream_cut_seconds: float = 5.0
    #: The payload of one event of a streamed answer; what comes from the model in larger pieces is divided. Envoy holds back so much of an answer of known length.
    stream_frame_bytes_max: int = 256 * 1024
    #: Envoy's worker threads; 0: one per core.
    proxy_workers: IntOrZero = 0
    #: Connections from one proxy to all instances of a group; requests beyond them wait for one.
    upstream_connections_max: int = 512
    #: A connection to an instance that is not made within this long is given up and tried on another.
    upstream_connect_timeout_seconds: float = 10.0
    #: Idle connections to instances are closed by Envoy before the instance would (uvicorn: 5 s, gunicorn: 2 s).
    upstream_idle_timeout_seconds: float = 1.5
    #: An idle client connection is closed after this long.
    downstream_idle_timeout_seconds: float = 600.0
    #: A client that is to be hung up on has this long to take the last of its answer, and to hang up itself.
    downstream_close_seconds: float = 10.0
    #: A request or answer during which nothing moves at all for this long is given up (a client that vanished).
    stream_idle_timeout_seconds: float = 900.0
    #: Envoy sheds load before its heap reaches this: requests from `PROXY_SHEDDING_SHARE` of it, no longer copies from `PROXY_COPIES_SHARE`.
    proxy_heap_bytes_max: int = 2 * 1024**3
    proxy_connections_max: int = 20_000
    health_check_interval_seconds: float = 2.0
    #: How often it is published how busy instances are, seconds; with `timing: aws` once a minute, as AWS does.
    utilization_interval_seconds: float = 10.0
    health_check_unhealthy_count: int = 3
    #: A proxy that does not answer for this long no longer holds up an acknowledgement.
    proxy_lease_seconds: float = 10.0
    #: Changes that come within this long make one push to the proxies.
    publish_coalesce_seconds: float = 0.01
    #: While traffic waits for instances to become healthy in the proxies, these are asked this often.
    proxy_poll_seconds: float = 0.01
    #: … and while nothing waits, this often.
    proxy_idle_poll_seconds: float = 1.0
    #: Leases and time limits of proxies are looked at this often when nothing else happens.
    proxy_turn_seconds: float = 0.5
    #: After a restart of the control plane, a proxy that still serves is left alone until we see what it serves, at most this long.
    proxy_adoption_seconds: float = 5.0
    #: A proxy's threads follow an acknowledged change within this long; only then is a group called unrouted.
    proxy_settle_seconds: float = 0.1
    #: Where a proxy took longer to acknowledge, its threads get as long as that, up to this.
    proxy_settle_seconds_max: float = 5.0

    # --- shadows (what the bounds add up to: bannister.envoy.resources.shadow)
    #: What the bodies of all copies under way, to all shadows together, may hold of the proxy's memory. With what capture may hold it must leave production
    #: `PRODUCTION_SHARE` of the proxy's heap.
    shadow_bytes_max: int = 768 * 1024 * 1024
    #: Copies under way to one shadow with a body of at most `shadow_small_body_bytes_max`; further ones are not made.
    shadow_requests_max: int = 128
    #: Copies under way to one shadow with a larger body, or one of unknown length.
    shadow_large_requests_max: int = 8
    shadow_small_body_bytes_max: int = 1024 * 1024
    #: A shadow has this long to answer a copy, and one that is to go away to end what it is sending. Shorter than `invocation_timeout_seconds`, after which Envoy gives up a copy without a word.
    shadow_timeout_seconds: float = 30.0
    #: Niceness of a shadow's processes, 0 to 19: production has the processor first.
    shadow_niceness: Niceness = 10
    #: Copies that were not made are counted this often.
    shadow_poll_seconds: float = 1.0
    #: What each shadow may have of `shadow_bytes_max` is looked at this often.
    shadow_share_seconds: float = 0.5

    # --- telemetry and alarms
    #: `bannister`, or `aws`: metrics are published and alarms evaluated when AWS does it.
    timing: Timing = Timing.BANNISTER
    access_log_flush_seconds: float = 0.1
    #: While telemetry stands still each of Envoy's threads keeps so much of what it has to tell of requests (about 1 kB each); what comes then is
    #: not counted.
    access_log_backlog_bytes_max: int = 16 * 1024 * 1024
    #: A heartbeat request goes through each proxy this often; its log entry proves that the path is alive.
    heartbeat_interval_seconds: float = 0.2
    #: The watermark stays this far behind the newest heartbeat seen, for entries of other proxy threads.
    watermark_margin_seconds: float = 0.4
    #: Batches kept for a control plane that is away.
    unacknowledged_batches_max: int = 10_000
    #: Seconds that telemetry keeps open while the watermark stands still; older ones are reported as they are.
    open_seconds_max: int = 30
    #: Metrics this young are also held in memory, so that evaluating alarms does not read the disk.
    metric_recent_seconds: float = 600.0
    #: Metrics are kept by the second for this long, then by the minute …
    metric_retention_seconds: float = 3 * 3600.0
    #: … up to this age, then by five minutes …
    metric_minute_retention_seconds: float = 15 * 86400.0
    #: … up to this age, then by the hour …
    metric_five_minute_retention_seconds: float = 63 * 86400.0
    #: … up to this age; older ones are forgotten (all four are CloudWatch's).
    metric_hour_retention_seconds: float = 455 * 86400.0
    #: Metrics of users, that is, different sets of namespace, name and dimensions with data; further new ones are refused.
    metrics_max: int = 20_000
    #: Groups of instances whose metrics are kept, beside those that live; of more, those that ended first are forgotten before their time.
    metric_groups_max: int = 10_000
    #: The file of metrics holds at most so much data; beyond, the oldest is forgotten before its time.
    metrics_bytes_max: int = 8 * 1024**3
    alarm_history_per_page_max: int = 100
    #: Seconds that became final at once (a pause, a restart) are evaluated one by one, at most so many; older ones are skipped.
    evaluation_backlog_seconds_max: int = 120
    #: Addresses (http:// or https://) that are told of every event of an endpoint, at most `EVENT_WEBHOOKS_MAX`; in the environment with spaces between them.
    event_webhooks: tuple[str, ...] = ()
    # An address that is told of events, or is an alarm's action, is told again what it does not take.
    webhook_timeout_seconds: float = 5.0
    webhook_attempts_max: int = 5
    #: … after the first, doubling up to the second.
    webhook_retry_seconds_min: float = 1.0
    webhook_retry_seconds_max: float = 60.0
    #: Addresses that are being told at the same time.
    webhook_parallel_max: int = 8
    #: Transitions that addresses have not been told of, and events that one has not been told of; of more, the oldest are given up.
    webhook_pending_max: int = 1000
    #: Actions that were held back by a suppressor's periods are looked at this often.
    suppression_check_seconds: float = 1.0
    #: A report that cannot be stored is tried again this often.
    report_retry_seconds: float = 0.2

    # --- compared answers
    #: What became of a shadow is written to the state file this often.
    shadow_store_seconds: float = 2.0
    #: What became of shadows that are gone, or was compared by rules that hold no more, is kept for so many of them; of more, the oldest are forgotten.
    shadow_records_max: int = 100

    # --- capture
    #: Exchanges that Envoy tells of at the same time, with request bodies of at most `capture_small_body_bytes_max`; of more nothing is told. What the bounds add
    #: up to: bannister.envoy.resources.observing.
    capture_streams_max: int = 1024
    #: The same for larger bodies, and those of unknown length.
    capture_large_streams_max: int = 16
    capture_small_body_bytes_max: int = 64 * 1024
    #: Envoy gives up what the capture process has not taken this long after the exchange is over.
    capture_close_seconds: float = 1.0
    #: A proxy that tells of no exchanges, because its heap is full, tells of none for at least so long: long enough that alarms on compared answers take it for a time that nobody has seen.
    capture_shed_seconds_min: float = 6.0
    #: The longest body that is captured, of a request and of an answer each; also the longest that an encoded answer is decoded to, to be compared.
    capture_body_bytes_max: int = 6 * 1024 * 1024
    #: What the capture process holds of exchanges that are not over: so many, with so many bytes of bodies, each for so long.
    capture_open_exchanges_max: int = 2000
    capture_open_bytes_max: int = 128 * 1024 * 1024
    capture_exchange_seconds_max: float = 500.0
    #: A heartbeat goes through each proxy to the capture process this often.
    capture_heartbeat_interval_seconds: float = 0.5
    #: Reports of the capture process kept for a control plane that is away; they hold excerpts of bodies, so they are fewer than telemetry's.
    capture_reports_max: int = 1000
    #: How long a process that is to end waits until the control plane has its last report.
    capture_farewell_seconds: float = 1.0
    #: Exchanges that wait for their other side: so many, with so many bytes of answers and excerpts of requests. Each waits while the other side is under way; where it is not, or
    #: not any more, for so long: what is told of two exchanges may come in any order.
    pairing_exchanges_max: int = 20_000
    pairing_bytes_max: int = 64 * 1024 * 1024
    pairing_seconds_max: float = 10.0
    #: Exchanges of a group that the control plane has not named yet wait for that: so many, with so many bytes of bodies, for so long.
    capture_early_exchanges_max: int = 2000
    capture_early_bytes_max: int = 16 * 1024 * 1024
    capture_early_seconds_max: float = 5.0
    #: Pairs that wait to be compared: so many, with so many bytes of answers. Of more, the newest are not compared.
    comparing_pairs_max: int = 2000
    comparing_bytes_max: int = 32 * 1024 * 1024
    #: A file of captured records is finished, for the object store, after this long or at this size.
    capture_file_seconds_max: float = 10.0
    capture_file_bytes_max: int = 16 * 1024 * 1024
    #: Records on the disk that are not in the object store yet; what does not fit is not written.
    capture_spool_bytes_max: int = 256 * 1024 * 1024
    #: ... of each bucket at most so much, so that one that takes nothing leaves room for the others.
    capture_spool_bucket_bytes_max: int = 64 * 1024 * 1024
    #: With less than this free on the disk nothing is captured to it; 0: as long as there is any.
    capture_disk_free_bytes_min: IntOrZero = 256 * 1024 * 1024
    #: Finished files are looked for this often.
    capture_delivery_seconds: float = 1.0
    #: A bucket that did not take a file is tried again after the first, doubling up to the second.
    capture_retry_seconds_min: float = 5.0
    capture_retry_seconds_max: float = 300.0
    #: Records that are older than this are dropped if their bucket still does not take them.
    capture_undelivered_seconds_max: float = 86400.0

    # --- deployments
    #: Deadlines are looked at this often when nothing else changes.
    turn_seconds: float = 0.25
    #: What proxies should do is read again this often, should reading have failed.
    state_read_again_seconds: float = 1.0
    #: While something drains, its requests in flight are counted this often.
    drain_poll_seconds: float = 0.05
    #: MaximumExecutionTimeoutInSeconds where none is given (AWS states no default; this is its upper limit).
    deployment_timeout_seconds_default: float = 28_800.0
    #: A deployment waits this long before its first shift for an alarm that is in ALARM.
    alarm_clear_timeout_seconds: float = 600.0
    #: A bake in which green got fewer requests than this is not over, also when its time is; 0: it passes, "without evidence".
    bake_requests_min: IntOrZero = 0
    #: Without a watermark from telemetry for this long, a deployment rolls back.
    blind_timeout_seconds: float = 60.0

    # --- inference experiments
    #: An experiment runs at least this long (AWS's console: an hour; at most 30 days).
    experiment_seconds_min: float = 3600.0
    #: An endpoint that could not be restored after an experiment is tried again so often, a little later each time.
    experiment_restoring_attempts_max: int = 3
    experiment_retry_seconds: float = 5.0

    # --- launcher
    #: How often `up` asks whether the server answers yet, and how long it goes on asking.
    ready_poll_seconds: float = 0.015
    ready_timeout_seconds: float = 120.0
    #: A part (Envoy, telemetry, capture, control plane) that ended is started again at once; then after the first, doubling up to the second.
    part_backoff_seconds_min: float = 0.2
    part_backoff_seconds_max: float = 10.0
    #: After it has run this long its end is its first again.
    part_settled_seconds: float = 5.0
    #: A part that ends this often within the window before Bannister was ready: `up` gives up.
    part_ends_max: int = 5
    part_ends_window_seconds: float = 60.0
    #: A part gets SIGTERM, and SIGKILL after this long (the control plane has `stop_grace_seconds` more, for its instances).
    part_stop_grace_seconds: float = 5.0
    #: The control plane and the capture process are asked for a sign of life this often; silent for this long, they are killed and started again.
    #: The capture process compares in a thread, but reads and writes bodies of megabytes in its loop.
    liveness_interval_seconds: float = 1.0
    liveness_timeout_seconds: float = 10.0
    capture_liveness_timeout_seconds: float = 30.0
    #: A part's log is moved aside (one older is kept) when it is larger than this; looked at this often.
    part_log_bytes_max: int = 8 * 1024 * 1024
    part_log_check_seconds: float = 5.0

    # --- API
    #: After a start, `ready` waits this long at most for the instances of endpoints that were in service.
    resume_wait_seconds: float = 60.0
    request_body_bytes_max: int = 8 * 1024 * 1024
    object_bytes_max: int = 50 * 1024**3
    #: Multipart uploads neither completed nor aborted for this long are removed.
    upload_retention_seconds: float = 7 * 86400.0
    #: A slow copy or completed upload keeps its client waiting in silence this long, then begins its answer.
    object_answer_quiet_seconds: float = 5.0

    # --- disk
    #: Decisions, alarm history and ended deployments are kept this long (AWS keeps alarm history for 14 days) ...
    history_retention_seconds: float = 14 * 86400.0
    #: ... and at most so many of them.
    journal_entries_max: int = 1_000_000
    past_deployments_max: int = 10_000
    #: Kept on the disk so that a rollback can be written down when it is full; 0: nothing.
    disk_reserve_bytes: IntOrZero = 32 * 1024 * 1024
    #: With less than this free, nothing new is accepted; 0: as long as there is any.
    disk_free_bytes_min: IntOrZero = 32 * 1024 * 1024
    #: A state file up to this size is checked whole at start (1 ms per MiB); of a larger one, the rows and the newest history.
    state_checked_bytes_max: int = 32 * 1024 * 1024
    #: What is past its retention is forgotten this often.
    housekeeping_interval_seconds: float = 60.0
    #: Reports and datapoints that cannot be stored are kept in memory, at most so many; later the oldest are not stored.
    unstored_metrics_max: int = 6000
    #: After storing metrics failed, it is tried again this often.
    metric_store_retry_seconds: float = 5.0

    @property
    def run_dir(self) -> Path:
        """Sockets. In the data directory; where a socket's path would be too long, in the temporary directory, and where that is deep too, in `/tmp`."""
        digest = hashlib.sha256(str(self.data_dir).encode()).hexdigest()[:12]
        name = f"bannister-{os.getuid()}-{digest}"
        places = (self.data_dir / "run", Path(tempfile.gettempdir()) / name)
        return next(
            (place for place in places if len(str(place)) <= SOCKET_FOLDER_CHARACTERS_MAX), Path("/tmp") / name
        )  # made with mode 0700

    @property
    def logs_dir(self) -> Path:
        return self.data_dir / "logs"

    @property
    def instances_dir(self) -> Path:
        return self.data_dir / "instances"

    @property
    def artifacts_dir(self) -> Path:
        return self.data_dir / "artifacts"

    @property
    def environments_dir(self) -> Path:
        """What artifacts' requirements were installed into; made again where it is missing."""
        return self.data_dir / "environments"

    @property
    def objects_dir(self) -> Path:
        return self.data_dir / "objects"

    @property
    def state_path(self) -> Path:
        return self.data_dir / "state.db"

    @property
    def reserve_path(self) -> Path:
        """Room that is kept for a full disk."""
        return self.data_dir / "reserve"

    @property
    def metrics_path(self) -> Path:
        return self.data_dir / "metrics.db"

    @property
    def images_path(self) -> Path:
        """The user's rows of the image table."""
        return self.data_dir / "images.toml"

    @property
    def api_socket(self) -> Path:
        """The control plane's HTTP API, behind Envoy."""
        return self.run_dir / "api.sock"

    @property
    def xds_socket(self) -> Path:
        """The control plane's configuration service for Envoy."""
        return self.run_dir / "xds.sock"

    @property
    def access_log_socket(self) -> Path:
        """Telemetry's access-log service for Envoy."""
        return self.run_dir / "access-log.sock"

    @property
    def telemetry_socket(self) -> Path:
        """Telemetry's summaries for the control plane."""
        return self.run_dir / "telemetry.sock"

    @property
    def exchange_socket(self) -> Path:
        """The capture process's service for Envoy."""
        return self.run_dir / "exchange.sock"

    @property
    def capture_socket(self) -> Path:
        """The capture process's reports for the control plane, and its instructions."""
        return self.run_dir / "capture.sock"

    @property
    def capture_dir(self) -> Path:
        """Captured records on their way to the object store."""
        return self.data_dir / "capture"

    @property
    def envoy_admin_socket(self) -> Path:
        return self.run_dir / "envoy-admin.sock"


def default_data_dir() -> Path:
    """`$XDG_DATA_HOME/bannister`, or `~/.local/share/bannister`."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "bannister"


def load(data_dir: Path, **overrides: object) -> Settings:
    """Read the settings of a data directory; `overrides` (command-line options) win over file and environment.

    Raises:
        Invalid: A name is unknown or a value unacceptable; the sentence names it and where it was found. Or the file cannot be read.
    """
    data_dir = data_dir.expanduser().resolve()
    values: dict[str, object] = {}
    file = data_dir / "bannister.toml"
    for name, value in _from_file(file).items():
        values[name] = _typed(name, value, str(file))
    for variable, text in os.environ.items():
        if (
            variable.startswith("BANNISTER_")
            and variable not in _NOT_SETTINGS
            and not _is_of_kubernetes(variable, text)
        ):
            name = variable.removeprefix("BANNISTER_").lower()
            values[name] = _typed(name, text, f"environment variable {variable}")
    values.update({name: value for name, value in overrides.items() if value is not None})
    settings = Settings(data_dir=data_dir, **values)  # type: ignore[arg-type]  # checked by _typed
    if settings.instance_port_first > settings.instance_port_last:
        raise Invalid(
            f"instance_port_first, {settings.instance_port_first}, is above instance_port_last, "
            f"{settings.instance_port_last}: no instance could get a port."
        )
    settings = _fitted(settings, values.keys())
    _check_heap(settings)
    return settings


def capture_bytes_max(settings: Settings) -> int:
    """What observed exchanges may hold of the proxy's memory, where an answer is no longer than a request that is captured may be.

    A large request of unknown length is sent whole.
    """
    large = max(settings.invocation_body_bytes_max, settings.capture_body_bytes_max) + settings.capture_body_bytes_max
    small = 2 * settings.capture_small_body_bytes_max
    return settings.capture_streams_max * small + settings.capture_large_streams_max * large


def _beside_production(settings: Settings) -> int:
    """What copies and capture may take of the proxy's heap together, in bytes."""
    return int((PROXY_SHEDDING_SHARE - PRODUCTION_SHARE) * settings.proxy_heap_bytes_max)


def _with(settings: Settings, name: str, count: int) -> Settings:
    return dataclasses.replace(settings, **{name: count})  # type: ignore[arg-type]  # a count's name


def _fitted(settings: Settings, given: Set[str]) -> Settings:
    """With a smaller heap or longer bodies the bounds that nobody gave are smaller: capture has at most half of what there is, copies the rest."""
    streams = ("capture_large_streams_max", "capture_streams_max")
    if not given & set(streams):
        for name in streams:
            none, one = (capture_bytes_max(_with(settings, name, count)) for count in (0, 1))
            fitting = (_beside_production(settings) // 2 - none) // (one - none)
            settings = _with(settings, name, max(1, min(getattr(settings, name), fitting)))
    if "shadow_bytes_max" not in given:
        left = _beside_production(settings) - capture_bytes_max(settings)
        settings = dataclasses.replace(settings, shadow_bytes_max=max(1, min(settings.shadow_bytes_max, left)))
    return settings


def _check_heap(settings: Settings) -> None:
    """Copies and what is captured may never be why Envoy refuses a request."""
    heap, capture = settings.proxy_heap_bytes_max, capture_bytes_max(settings)
    left = _beside_production(settings)
    if settings.shadow_bytes_max + capture > left:
        raise Invalid(
            f"shadow_bytes_max, {settings.shadow_bytes_max}, and what capture may hold, {capture} bytes, do not fit: of proxy_heap_bytes_max, {heap}, "
            f"they may take {left} together, so that production is never refused because of them. Raise proxy_heap_bytes_max, or lower shadow_bytes_max, "
            "capture_streams_max or capture_large_streams_max."
        )


def _from_file(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):  # that the data directory is none is said by who makes it
        return {}
    except OSError as error:
        raise Invalid(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise Invalid(f"{file} is not in UTF-8, as TOML must be: save it in that encoding.") from error
    except (ValueError, RecursionError) as error:  # mostly a TOMLDecodeError
        raise Invalid(f"{file} is not valid TOML: {error}.") from error


def _is_of_kubernetes(variable: str, text: str) -> bool:
    if _OF_KUBERNETES.fullmatch(variable) is None:
        return False
    return variable.removeprefix("BANNISTER_").lower() not in _FIELDS or "://" in text


class _Kind(NamedTuple):
    type: type
    words: str
    least: float = 0.0
    most: float = sys.float_info.max


#: By the name of a setting's type.
_KINDS: Final = {
    "int": _Kind(int, "a whole number, at least 1", least=1),
    "IntOrZero": _Kind(int, "a whole number, at least 0"),
    "Port": _Kind(int, "a whole number from 1 to 65535", 1, 65535),
    "Niceness": _Kind(int, "a whole number from 0 to 19", 0, 19),
    "float": _Kind(float, "a number, at least 0.001", least=0.001),
    "FloatOrZero": _Kind(float, "a number, at least 0"),
    "str": _Kind(str, "text"),
    "tuple[str, ...]": _Kind(tuple, "a list of addresses"),  # read by `_addresses`
    "Timing": _Kind(Timing, f"one of {', '.join(Timing)}"),
    "Switch": _Kind(Switch, f"one of {', '.join(Switch)}"),
    "Pull": _Kind(Pull, f"one of {', '.join(Pull)}"),
}
_FIELDS = {field.name: _KINDS[str(field.type)] for field in dataclasses.fields(Settings) if field.name != "data_dir"}


def _typed(name: str, value: object, where: str) -> object:
    if name == "event_webhooks":
        return _addresses(value, where)
    kind = _FIELDS.get(name)
    if kind is None:
        raise Invalid(f"{where}: there is no setting called {name!r}{_closest(name)}.")
    try:
        typed: object = kind.type(value)
    except (TypeError, ValueError, OverflowError):
        typed = None
    # Text stands for what it says; a number of the file that would become another one, `true` that would become 1, do not.
    is_number = isinstance(value, int) and not isinstance(value, bool)
    is_kept = (
        isinstance(value, str) or (kind.type is str and is_number) or (typed == value and not isinstance(value, bool))
    )
    is_within = not isinstance(typed, int | float) or kind.least <= typed <= kind.most  # nan is not
    if typed is None or not is_kept or not is_within:
        raise Invalid(f"{where}: {name} must be {kind.words}, not {value!r}.")
    return typed


def _closest(name: str) -> str:
    import difflib  # only for who mistypes: `up` must start at once

    found = difflib.get_close_matches(name, _FIELDS, n=1)
    return f"; the closest is {found[0]!r}" if found else ""


def _addresses(value: object, where: str) -> tuple[str, ...]:
    found = value.split() if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise Invalid(
            f'{where}: event_webhooks must be a list of addresses, ["https://HOST/PATH"], not {type(value).__name__}.'
        )
    for url in found:
        if not is_whole(url):
            raise Invalid(
                f"{where}: {cut(url)!r} in event_webhooks is not an address that can be told: give http://HOST[:PORT]/PATH or https://…, "
                "percent-encoded, without a user name."
            )
    if len(set(found)) > EVENT_WEBHOOKS_MAX:
        raise Invalid(f"{where}: event_webhooks has {len(found)} addresses; it may have {EVENT_WEBHOOKS_MAX}.")
    return tuple(dict.fromkeys(found))
