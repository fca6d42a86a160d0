"""The tables of the store: which values are durable, under which key."""

from __future__ import annotations

from typing import Final

from bannister.domain.alarm.action import PendingAction
from bannister.domain.alarm.alarm import Alarm
from bannister.domain.comparison.record import ShadowRecord
from bannister.domain.comparison.rules import Rules
from bannister.domain.deployment.deployment import Deployment
from bannister.domain.endpoint import Endpoint, EndpointConfig
from bannister.domain.event_delivery import EventDelivery
from bannister.domain.experiment.experiment import Experiment
from bannister.domain.model import Model
from bannister.state.group_record import GroupRecord
from bannister.state.store import Table

#: By name.
MODELS: Final = Table("model", Model)
#: By name.
ENDPOINT_CONFIGS: Final = Table("endpoint_config", EndpointConfig)
#: By name.
ENDPOINTS: Final = Table("endpoint", Endpoint)
#: By name.
ALARMS: Final = Table("alarm", Alarm)
#: By time, alarm and number: what addresses have not been told yet.
ACTIONS: Final = Table("alarm_action", PendingAction)
#: Deployments that have ended, by id; a running one is in its endpoint's row.
DEPLOYMENTS: Final = Table("deployment", Deployment)
#: By group id: what the supervisor brought about for a group.
GROUPS: Final = Table("group", GroupRecord)
#: By `record_key`: what became of each shadow, in all its pairs; one for all that were compared by the same rules.
SHADOWS: Final = Table("shadow", ShadowRecord)
#: By endpoint name: what counts as the same answer there.
COMPARISON_RULES: Final = Table("comparison_rules", Rules)
#: Inference experiments, by name; those that have ended too, until they are deleted.
EXPERIMENTS: Final = Table("experiment", Experiment)
#: By address: how far it has been told of events.
EVENT_DELIVERIES: Final = Table("event_delivery", EventDelivery)
