"""The control plane: every part built, wired and run, in one place.

`python -m bannister.app --data-dir DIR --port PORT`, started by the launcher. It serves the AWS API on a unix socket behind Envoy, gives Envoy its
configuration, and runs the loops. SIGTERM stops it together with the instances; killed, it leaves Envoy and the instances serving, and the next one
adopts them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections import Counter
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, NoReturn

import uvicorn

from bannister import garbage
from bannister import settings as settings_module
from bannister.announcer.loop import Announcer
from bannister.aws import cloudwatch, deployments, identity, logs, sagemaker
from bannister.aws.gateway import Gateway
from bannister.aws.runtime_errors import runtime_texts
from bannister.aws.s3.door import S3Door
from bannister.aws.wire.models import preload
from bannister.clock import SystemClock
from bannister.collector.concurrency import ConcurrencyCollector
from bannister.collector.delivery import Delivery
from bannister.collector.instructing import instruct_capture
from bannister.collector.utilization import UtilizationCollector, this_machine
from bannister.deployer.loop import Deployer
from bannister.disk import DiskReserve
from bannister.domain.deployment.observation import Limits
from bannister.domain.experiment.machine import Limits as ExperimentLimits
from bannister.domain.instance import InstancePhase
from bannister.domain.routing import plan_of
from bannister.envoy.admin import Admin
from bannister.envoy.ads import DiscoveryServer
from bannister.envoy.resources.names import PROXY_NODE
from bannister.errors import EXIT_CANNOT_START, BannisterError, Fenced
from bannister.evaluator.loop import Evaluator
from bannister.evaluator.notifier import Notifier
from bannister.experimenter.loop import Experimenter
from bannister.ids import RandomIds
from bannister.instances.backend import InstanceBackend
from bannister.instances.engine import Engines
from bannister.instances.images import ImageTable
from bannister.instances.local import LocalInstances
from bannister.metrics.feed import CaptureFeed, TelemetryFeed
from bannister.metrics.published import MINUTE
from bannister.metrics.sqlite import SqliteMetrics
from bannister.objects.folder import FolderObjects
from bannister.operations.context import Context
from bannister.operations.monitoring import Health, Monitoring
from bannister.operations.room import with_shortage
from bannister.operations.totals import Totals
from bannister.publisher.following import follow_endpoints
from bannister.publisher.publisher import Publisher
from bannister.settings import Settings
from bannister.state.retention import forget_history
from bannister.state.sqlite import SqliteState
from bannister.state.tables import ENDPOINTS, GROUPS
from bannister.supervisor.artifacts import Artifacts
from bannister.supervisor.loop import Supervisor

log = logging.getLogger(__name__)


class ControlPlane:
    """All parts of one control plane; `run` until `stop`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        clock, ids = SystemClock(), RandomIds()
        self._clock = clock
        self._reserve = DiskReserve(settings.reserve_path, settings.disk_reserve_bytes, settings.disk_free_bytes_min)
        self._reserve.prepare()
        self._state = SqliteState(
            settings.state_path, self._reserve, checked_bytes_max=settings.state_checked_bytes_max
        )
        self._metrics = SqliteMetrics(settings, clock, self._fence)
        self._objects = FolderObjects(
            settings.objects_dir,
            ids,
            settings.object_bytes_max,
            self._reserve.check,
            self._reserve.release_if_full,
            self._fence,
        )
        self._delivery = Delivery(settings, self._objects, clock)
        engines = Engines(settings.container_engine)
        images = ImageTable(settings, engines)
        self._instances = LocalInstances(settings, clock, ids, images, self._fence, engines, self._state.epoch)
        texts = runtime_texts(settings.account_id, settings.invocation_body_bytes_max)
        self._publisher = Publisher(
            settings,
            self._instances,
            texts,
            clock,
            DiscoveryServer(settings.xds_socket, settings.proxy_lease_seconds, clock, self._fence, [PROXY_NODE]),
            lambda _node: Admin(settings.envoy_admin_socket, self._fence),
        )
        #: What the capture process is to do is said here, with `instruct`.
        self._capture_feed = CaptureFeed(settings, clock, lambda: self._metrics.capture_account)
        self._telemetry_feed = TelemetryFeed(settings, clock, lambda: self._metrics.skipped_account)
        totals = Totals(self._telemetry_feed)
        self._evaluator = Evaluator(self._state, self._metrics, totals, clock, settings, self._capture_feed)
        self._notifier = Notifier(self._state, clock, settings, self._evaluator.end_suppressions, self._fence)
        self._announcer = Announcer(self._state, clock, settings, self._fence)
        self._supervisor = Supervisor(
            self._state,
            self._instances,
            self._publisher,
            self._metrics,
            Artifacts(self._objects, settings, self._fence),
            clock,
            settings,
            self._state.epoch,
        )
        limits = Limits(
            settings.alarm_clear_timeout_seconds,
            settings.blind_timeout_seconds,
            settings.bake_requests_min,
            float(MINUTE) if settings.timing is settings_module.Timing.AWS else 0.0,
        )
        self._deployer = Deployer(
            self._state,
            self._instances,
            self._publisher,
            self._evaluator,
            clock,
            limits,
            settings.turn_seconds,
            self._metrics,
        )
        context = Context(
            state=self._state,
            metrics=self._metrics,
            objects=self._objects,
            clock=clock,
            ids=ids,
            settings=settings,
            image_refusal=images.why_not,
            image_paths=lambda image: images.resolve(image).paths,
            ready_instances=lambda: _ready(self._instances),
            waits_for=lambda group: _waits_for(self._instances, group),
            check_room=self._reserve.check,
            observe=self._deployer.observer.observe,
            limits=limits,
            memory=self._instances.memory,
            logs=self._instances.logs,
            delivery_trouble=self._delivery.trouble,
            copies_trouble=lambda: self._publisher.copies_trouble,
        )
        self._experimenter = Experimenter(
            self._state,
            clock,
            ids,
            experiment_limits(settings),
            settings.turn_seconds,
            lambda deployment: with_shortage(context, deployment),
        )
        self._monitoring = Monitoring(self._state, totals, self._publisher, self._health, clock)
        self._gateway = Gateway(
            settings,
            ids,
            clock,
            [
                sagemaker.service(context),
                cloudwatch.service(context),
                logs.service(context),
                deployments.service(context),
                *identity.services(),
            ],
            S3Door(self._objects, clock, ids, settings),
            self._waits_for,
            # Proxies keep connections, so a request may still come to a process that another has succeeded.
            self._fence,
            self._monitoring.scrape,
        )
        self._utilization = UtilizationCollector(
            self._state,
            self._instances,
            self._metrics,
            clock,
            lambda: this_machine(settings.data_dir),
            float(MINUTE) if settings.timing is settings_module.Timing.AWS else settings.utilization_interval_seconds,
        )
        self._concurrency = ConcurrencyCollector(self._state, self._publisher, self._metrics, clock)
        self._stop = asyncio.Event()
        self._started_at = clock.monotonic()
        self._resumed = False

    async def run(self) -> None:
        """Serve until stopped; then stop the instances."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ask_to_stop)
        await self._instances.start()
        await self._monitoring.begin()
        try:
            async with asyncio.TaskGroup() as tasks:
                work = (
                    self._publisher.run(),
                    follow_endpoints(self._publisher, self._state, self._settings.state_read_again_seconds),
                    instruct_capture(self._capture_feed, self._state),
                    self._utilization.run(),
                    self._concurrency.run(),
                    self._delivery.run(),
                    self._evaluator.run(),
                    self._notifier.run(),
                    self._announcer.run(),
                    self._supervisor.run(),
                    self._deployer.run(),
                    self._experimenter.run(),
                    self._keep_house(),
                    self._watch_epoch(),
                    self._serve(),
                )
                loops = [tasks.create_task(self._until_succeeded(one)) for one in work]
                await asyncio.to_thread(preload)
                garbage.begin()
                await self._stop.wait()
                self._fence()
                for task in loops:
                    task.cancel()
        finally:
            # Only a stop that was asked for ends the instances; after a fault they serve on for the next control plane.
            await self._instances.close(stop_instances=self._stop.is_set())
            await self._metrics.close()
            await self._state.close()
            self._objects.close()

    def _ask_to_stop(self) -> None:
        """Asked again, instances are not waited for: containers do not end with the processes of ours."""
        if self._stop.is_set():
            self._instances.hurry()
        self._stop.set()

    async def _serve(self) -> None:
        self._settings.api_socket.unlink(missing_ok=True)
        config = uvicorn.Config(
            self._gateway,
            uds=str(self._settings.api_socket),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            ws="none",
            timeout_keep_alive=3600,
            timeout_graceful_shutdown=API_STOP_SECONDS,
        )
        await _Server(config).serve_until_cancelled()

    def _health(self) -> Health:
        return Health(
            self._evaluator.watermark,
            self._evaluator.seconds_skipped,
            self._metrics.lost,
            [one.connected for one in self._publisher.proxies()],
            self._instances.snapshot(),
            self._evaluator.alarms_faulty,
            self._evaluator.evaluations_skipped,
            {"telemetry": self._telemetry_feed.missed, "capture": self._capture_feed.missed},
            self._telemetry_feed.dropped_entries,
        )

    # --- one control plane at a time

    def _fence(self) -> None:
        """Called before everything that changes the world outside the state file; does not return when another process has taken over."""
        try:
            self._state.check_epoch()
        except Fenced:
            _give_way()

    async def _watch_epoch(self) -> None:
        """One that was taken for dead, replaced, and has nothing to do when it wakes, is to end all the same."""
        while True:
            self._fence()
            await asyncio.sleep(EPOCH_INTERVAL_SECONDS)

    @staticmethod
    async def _until_succeeded(work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Fenced:  # the state file refused a commit
            _give_way()

    async def _waits_for(self) -> str | None:
        """What still stands between a request and its answer; endpoints of an earlier run serve again before `ready`."""
        waited = self._clock.monotonic() - self._started_at
        if self._resumed or waited >= self._settings.resume_wait_seconds:
            return None
        for row in await self._state.rows(ENDPOINTS):
            asked = [one.group for one in plan_of(row.value).weights if one.takes_any]
            for group in asked:
                if not self._publisher.serving(group) and not self._given_up(group):
                    return f'the instances of endpoint "{row.key}"'
        self._resumed = True
        return None

    def _given_up(self, group: str) -> bool:
        return any(one.group == group and one.phase is InstancePhase.FAILED for one in self._instances.snapshot())

    async def _keep_house(self) -> None:
        """Forget what is past its time, and take the reserve back when there is room."""
        await asyncio.sleep(HOUSEKEEPING_BEGINS_SECONDS)
        while True:
            now = self._clock.now()
            for chore in (self._expire_metrics, self._forget_history, self._keep_room, self._sweep):
                try:
                    await chore(now)
                except Fenced:
                    raise
                except Exception:  # a disk that is full now may not be next time
                    log.exception("housekeeping.failed")
            self._reserve.take()
            await asyncio.sleep(self._settings.housekeeping_interval_seconds)

    async def _expire_metrics(self, now: float) -> None:
        await self._metrics.expire(now, {row.key for row in await self._state.rows(GROUPS)})

    async def _forget_history(self, now: float) -> None:
        await forget_history(self._state, now, self._settings)

    async def _sweep(self, _now: float) -> None:
        garbage.sweep()

    async def _keep_room(self, _now: float) -> None:
        self._fence()
        self._state.keep_room()


#: After a start serving comes first.
HOUSEKEEPING_BEGINS_SECONDS = 1.0
#: Requests to the API that are being answered at a stop may take this long.
API_STOP_SECONDS = 2
#: The epoch is looked at this often when nothing else looks at it.
EPOCH_INTERVAL_SECONDS = 1.0
#: Exit code of a control plane that another one has succeeded.
EXIT_SUCCEEDED = 3


def _give_way() -> NoReturn:
    """End on the spot, with nothing cleaned up: sockets, files and instances are the successor's now."""
    log.critical(
        "control.succeeded Another control plane has taken over this data directory; this one changes nothing and ends."
    )
    logging.shutdown()
    os._exit(EXIT_SUCCEEDED)


def experiment_limits(settings: Settings) -> ExperimentLimits:
    """The settings that decisions about experiments depend on."""
    return ExperimentLimits(
        settings.deployment_timeout_seconds_default,
        settings.startup_timeout_seconds_default,
        settings.experiment_restoring_attempts_max,
        settings.experiment_retry_seconds,
    )


class _Server(uvicorn.Server):
    """Signals are the control plane's business, not its HTTP server's."""

    async def serve_until_cancelled(self) -> None:
        """Answer requests; when cancelled, those that have begun, and close all connections: what they need is closed next."""
        try:
            await self.serve()
        finally:
            if self.started:
                await self.shutdown()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _ready(instances: InstanceBackend) -> dict[str, int]:
    return Counter(one.group for one in instances.snapshot() if one.phase is InstancePhase.READY)


def _waits_for(instances: InstanceBackend, group: str) -> str | None:
    pending = (one for one in instances.snapshot() if one.group == group and one.phase is InstancePhase.PENDING)
    return next((one.reason for one in pending if one.reason is not None), None)


class _CannotStart(Exception):
    """Raised before anything was begun, from the `BannisterError` that says why."""


async def _main(settings: Settings) -> None:
    try:
        control_plane = ControlPlane(settings)
    except BannisterError as error:
        raise _CannotStart(str(error)) from error
    await control_plane.run()


def main() -> int:
    """Run the control plane of one data directory."""
    parser = argparse.ArgumentParser(
        prog="python -m bannister.app", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--port", type=int, default=None)
    arguments = parser.parse_args()
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03d %(levelname)s %(name)s %(message)s",
        datefmt="%H:%M:%S",
    )
    try:
        asyncio.run(_main(settings_module.load(arguments.data_dir, port=arguments.port)))
    except _CannotStart as error:
        print(" ".join(str(error).split()), file=sys.stderr, flush=True)  # one line, which the launcher shows
        return EXIT_CANNOT_START
    except BannisterError as error:  # said in a sentence; the launcher starts another one
        log.critical("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
