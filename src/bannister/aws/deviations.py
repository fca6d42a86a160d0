"""Where Bannister is different from AWS, and what it does where AWS does not say: one row each.

`docs/compatibility.md` shows them; what becomes of each member of a request is in the tables beside the operations (`bannister.aws.members`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Deviation:
    """One difference, in words without a full stop."""

    #: What Bannister does.
    here: str
    #: What AWS does; empty: AWS does not say.
    there: str
    #: A test that shows what Bannister does: `tests/FILE.py::NAME`.
    test: str
    #: The page, within `docs`, that says why, or more; empty: there is no more to say.
    page: str = ""


DEPLOYMENTS: Final = (
    Deviation(
        "CAPACITY_PERCENT sends exactly that share of the requests, also with one instance; it goes to as many green instances as the percentage makes, rounded up",
        "traffic follows whole instances; how a percentage is rounded is not published",
        "tests/scenarios/test_share.py::test_greens_share_over_2000_requests_is_within_three_standard_deviations",
        "decisions/0003-how-much-traffic-a-step-sends.md",
    ),
    Deviation(
        "Rolling updates take several production variants",
        "such endpoints are excluded",
        "tests/domain/deployment/test_rolling.py::test_walks_keep_capacity_and_traffic_together",
        "decisions/0018-rolling-updates.md",
    ),
    Deviation(
        "Any transition to ALARM after the first shift rolls back, however short it was, until blue begins to retire",
        "the state of alarms is read in bakes",
        "tests/domain/deployment/test_machine.py::test_any_transition_to_alarm_after_the_first_shift_rolls_back_even_if_the_alarm_is_ok_again",
        "decisions/0001-decide-purely-and-level-triggered.md",
    ),
    Deviation(
        "A bake ends when its time has passed and every alarm was judged on data up to its end, about a second later",
        "a bake is a wait",
        "tests/domain/deployment/test_machine.py::test_a_bake_ends_when_its_deadline_has_passed_and_every_alarm_was_evaluated_up_to_it",
        "decisions/0005-when-a-datapoint-counts.md",
    ),
    Deviation(
        "While nothing can be seen of the traffic, bakes stand still and alarms do not take it for quiet; after a bound the update rolls back",
        "",
        "tests/domain/deployment/test_machine.py::test_blind_is_not_quiet",
        "decisions/0005-when-a-datapoint-counts.md",
    ),
    Deviation(
        "An alarm that is in ALARM already holds the first shift; it rolls back if it does not clear within a bound",
        "",
        "tests/domain/deployment/test_machine.py::test_an_alarm_in_alarm_holds_the_first_shift_until_it_clears",
    ),
    Deviation(
        "INSUFFICIENT_DATA does not trip",
        "",
        "tests/domain/deployment/test_machine.py::test_insufficient_data_does_not_trip",
    ),
    Deviation(
        "An alarm that is named must exist; one that is deleted during the update rolls back",
        "",
        "tests/domain/deployment/test_machine.py::test_a_deleted_alarm_rolls_back",
    ),
    Deviation(
        "AutoRollbackConfiguration may name composite alarms",
        "",
        "tests/evaluator/test_early.py::test_a_composite_alarm_that_a_deployment_names_brings_the_alarms_beneath_it",
        "decisions/0010-composite-alarms-in-one-commit.md",
    ),
    Deviation(
        "MaximumExecutionTimeoutInSeconds rolls back until blue begins to retire, and is let pass afterwards",
        "",
        "tests/domain/deployment/test_machine.py::test_a_time_out_rolls_back_until_blue_begins_to_retire_and_completes_afterwards",
    ),
    Deviation(
        "Both policies at once, the size of another strategy, an alarm that does not exist, sizes outside the limits and a MaximumExecutionTimeoutInSeconds that the waits use up are ValidationExceptions with the reason; the endpoint is not touched",
        "",
        "tests/scenarios/test_bad_input.py::test_deployment_configurations_that_cannot_be",
    ),
    Deviation(
        "RetainDeploymentConfig is refused together with DeploymentConfig, and where no DeploymentConfig was ever given",
        "",
        "tests/aws/test_updates.py::test_what_cannot_be_retained",
    ),
    Deviation(
        "An update is refused whose variants would all have the weight 0, because RetainAllVariantProperties keeps it",
        "",
        "tests/domain/deployment/test_admission.py::test_an_update_that_would_leave_no_variant_any_requests_is_refused",
    ),
    Deviation(
        "An update without DeploymentConfig does not forget the one that RetainDeploymentConfig uses",
        "",
        "tests/operations/test_resources.py::test_an_update_without_a_policy_does_not_forget_the_one_to_retain",
    ),
    Deviation(
        "A guarded update must keep the names of the production variants; one without DeploymentConfig may change them",
        "",
        "tests/operations/test_shadow.py::test_a_plain_update_promotes_the_shadow_under_its_own_name",
    ),
    Deviation(
        "An update to the configuration that is in use brings new instances of it",
        "",
        "tests/aws/test_updates.py::test_an_update_to_the_configuration_in_use_brings_new_instances_of_it",
    ),
    Deviation(
        "Guarded updates go together with a shadow variant",
        "",
        "tests/scenarios/test_shadow.py::test_a_guarded_update_to_and_from_a_shadow_loses_nothing",
        "shadow.md",
    ),
    Deviation(
        "CurrentInstanceCount counts the instances that are ready, whether they have traffic or not",
        "",
        "tests/domain/test_endpoint_event.py::test_the_shape_of_a_deployments_event",
    ),
    Deviation(
        "A DeploymentConfig that no update could use is refused by CreateEndpoint already",
        "",
        "tests/operations/test_resources.py::test_a_policy_that_no_update_could_use_is_refused_at_creation",
        "decisions/0004-creation-is-a-deployment.md",
    ),
    Deviation(
        "After a rollback FailureReason says why, until the next accepted update",
        "",
        "tests/scenarios/test_strategies.py::test_a_bad_version_is_rolled_back",
        "reading-a-deployment.md",
    ),
    Deviation(
        "When a batch of a failed rolling update cannot be restored, both versions serve on with what they have, as UpdateRollbackFailed; any update leads out, and UpdateEndpointWeightsAndCapacities is refused until then",
        "",
        "tests/domain/deployment/test_rolling.py::test_a_rollback_that_fails_leaves_both_serving_with_what_they_have",
        "decisions/0018-rolling-updates.md",
    ),
    Deviation(
        "An update of an endpoint with ml.inf1 instances is all at once and without a final bake, and its deployment warns of it and has events; alarms still hold and stop it",
        "it is, in silence",
        "tests/aws/test_updates.py::test_an_update_without_guardrails_says_so_and_keeps_the_policy_that_was_given",
        "reading-a-deployment.md",
    ),
    Deviation(
        "DesiredInstanceCount 0 is refused",
        "the model allows it",
        "tests/compatibility/test_members.py::test_what_aws_has_and_is_not_here",
        "decisions/0014-capacity-changes-in-place.md",
    ),
    Deviation(
        "One UpdateEndpointWeightsAndCapacities may change the counts of several variants",
        "the weights of several, or the capacity of one",
        "tests/scenarios/test_scaling.py::test_weights_and_counts_change_under_load_and_nothing_is_lost",
        "decisions/0014-capacity-changes-in-place.md",
    ),
    Deviation(
        "A variant of which no instance is ready gets no larger share of the requests: the change waits, and is taken back if none comes up",
        "",
        "tests/domain/test_scaling.py::test_no_larger_share_goes_to_a_variant_of_which_no_instance_is_healthy",
        "decisions/0014-capacity-changes-in-place.md",
    ),
    Deviation(
        "A change of capacities whose instances cannot start is taken back whole, and FailureReason says why",
        "",
        "tests/domain/test_scaling.py::test_what_is_taken_back_says_why",
        "decisions/0014-capacity-changes-in-place.md",
    ),
)
ENDPOINTS: Final = (
    Deviation(
        "A model has one container, and a variant one model: inference pipelines, multi-model endpoints and inference components are refused",
        "supported",
        "tests/compatibility/test_members.py::test_what_aws_has_and_is_not_here",
    ),
    Deviation(
        "ModelDataUrl and S3Uri are s3:// addresses; others are refused",
        "the https:// addresses of objects are taken, too",
        "tests/compatibility/test_members.py::test_what_aws_has_and_is_not_here",
    ),
    Deviation(
        "Image names how to run a model: AWS's framework images run with the built-in runtime, others as a row of images.toml says, or as containers of this machine's engine",
        "an image in a registry, run as a container",
        "tests/instances/test_containers.py::test_an_image_without_a_row_is_a_container",
        "model-servers.md",
    ),
    Deviation(
        "The artifact of a model that is a process is in a folder that SM_MODEL_DIR, model_fn's argument and {model_dir} name; it has this machine's files, and no credentials",
        "it is at /opt/ml/model, in a container with its role's credentials",
        "tests/instances/test_local.py::test_a_model_gets_a_small_environment_and_a_folder_of_its_own",
        "models.md",
    ),
    Deviation(
        "A model's server may answer elsewhere than at /ping and /invocations: its image's row says where, or BANNISTER_PING_PATH and BANNISTER_INVOCATIONS_PATH in Environment",
        "these two, always",
        "tests/operations/test_resources.py::test_a_model_keeps_the_paths_that_it_was_created_with",
        "decisions/0024-paths-and-containers.md",
    ),
    Deviation(
        "What has no effect here is stored and described as it was given; what would be missed is refused",
        "everything has its effect",
        "tests/compatibility/test_members.py::test_what_was_given_comes_back",
        "decisions/0020-members-are-supported-without-effect-or-refused.md",
    ),
    Deviation(
        "Serverless and asynchronous configurations are kept, and no endpoint can have one",
        "they are served",
        "tests/aws/test_unserved.py::test_no_endpoint_has_it",
        "decisions/0015-real-time-endpoints-only.md",
    ),
    Deviation(
        "InstanceType is what limits an instance, as far as the machine has more; without it nothing does, and ml.m5.large is described",
        "an instance is a machine of its type; it is required of real-time variants",
        "tests/compatibility/test_members.py::test_an_instance_type_need_not_be_given",
        "instances.md",
    ),
    Deviation(
        "Memory is looked at every second: an instance that uses more than its type has is ended, and the reason says so",
        "the container is killed",
        "tests/instances/test_limits.py::test_one_that_uses_too_much_memory_ends_with_a_reason",
        "instances.md",
    ),
    Deviation(
        "A model may bring warm-up requests, which it has to answer before it is in service",
        "there are none",
        "tests/scenarios/test_instances.py::test_a_warm_up_comes_before_the_first_request_and_is_in_no_metric",
        "instances.md",
    ),
    Deviation(
        "A deployment that may not fit into the machine's memory is warned about before it starts, and not refused",
        "InsufficientInstanceCapacity, once it has begun",
        "tests/domain/deployment/test_room.py::test_green_that_does_not_fit",
        "instances.md",
    ),
    Deviation(
        "The archive that SAGEMAKER_SUBMIT_DIRECTORY names by an s3:// address is unpacked into the artifact's folder code; CreateModel refuses one that is not there",
        "the container fetches it when it starts",
        "tests/supervisor/test_artifact.py::test_code_of_an_archive_of_its_own_goes_into_the_folder_code",
        "models.md",
    ),
    Deviation(
        "code/requirements.txt is installed once for all instances that ask for the same; the start-up timeout begins when that is done",
        "each container installs it when it starts, within its start-up timeout",
        "tests/instances/test_environments.py::test_what_is_required_is_installed_once_for_all_who_ask_for_it",
        "decisions/0022-requirements-of-artifacts.md",
    ),
    Deviation(
        "DeployedImages have the image as it was specified",
        "they have its digest as well",
        "tests/compatibility/test_members.py::test_what_an_endpoint_says_of_what_it_runs",
    ),
    Deviation(
        "DescribeEndpoint does not repeat members without effect; DescribeEndpointConfig does",
        "MetricsConfig and CapacityReservationConfig are in both",
        "tests/compatibility/test_members.py::test_what_an_endpoint_says_of_what_it_runs",
    ),
    Deviation(
        "The instances of a variant are bounded by the setting instances_per_variant_max: more are a ResourceLimitExceeded",
        "quotas of the account bound those of a type",
        "tests/aws/test_updates.py::test_more_instances_than_there_may_be_are_a_limit_that_is_exceeded",
    ),
    Deviation(
        "An endpoint runs copies of its configuration and models: they may be deleted, and it is updated from what it runs",
        "they may be deleted, and later updates fail without the configuration that was in use",
        "tests/scenarios/test_bad_input.py::test_deleting_what_an_endpoint_runs_does_not_touch_it",
    ),
    Deviation(
        "NameContains does not distinguish between upper and lower case",
        "",
        "tests/operations/test_listing.py::test_filters",
    ),
    Deviation(
        "Names in ARNs are in lower case",
        "",
        "tests/operations/test_tags.py::test_an_arn_has_the_name_in_lower_case",
    ),
    Deviation(
        "Tags of a resource that does not exist are refused as its own operations refuse it",
        "",
        "tests/aws/test_tags.py::test_what_is_not_there_is_refused_with_a_sentence",
    ),
    Deviation(
        "CaptureStatus is Stopped also while captured records cannot be written",
        "",
        "tests/scenarios/test_data_capture.py::test_a_missing_bucket_is_said_and_nothing_is_lost",
        "data-capture.md",
    ),
)
EXPERIMENTS: Final = (
    Deviation(
        "An endpoint has one experiment, also when the first has not begun",
        "",
        "tests/operations/test_experiments.py::test_two_experiments_on_one_endpoint_are_refused_also_for_later",
        "experiments.md",
    ),
    Deviation(
        "While an experiment runs, nobody else updates or deletes the endpoint",
        "",
        "tests/operations/test_experiments.py::test_nobody_else_changes_an_endpoint_under_an_experiment",
        "experiments.md",
    ),
    Deviation(
        "A stop without DesiredState ends as Completed after a promotion, else as Cancelled",
        "",
        "tests/operations/test_experiments.py::test_how_a_stop_ends",
        "experiments.md",
    ),
    Deviation(
        "A shadow gets the share of requests that its weight is of production's",
        "",
        "tests/domain/test_routing.py::test_the_share_copied_is_the_ratio_of_the_weights",
        "shadow.md",
    ),
)
INVOKING: Final = (
    Deviation(
        "Without code, an artifact with several XGBoost files is refused",
        "the container averages their predictions",
        "tests/runtime/test_formats.py::test_what_cannot_be_served_is_said_with_the_remedy",
        "models.md",
    ),
    Deviation(
        "A model with SAGEMAKER_INFERENCE_OUTPUT and no code is refused; XGBoost takes no recordio-protobuf",
        "XGBoost's container answers the columns that are chosen, and takes it",
        "tests/runtime/test_formats.py::test_a_choice_of_columns_is_refused_and_not_passed_over",
        "models.md",
    ),
    Deviation(
        "A model that another version of its library pickled is not started where it cannot work, and otherwise warned about: in its deployment before traffic moves, and in its log",
        "it is started, and fails when it is called",
        "tests/runtime/test_other_versions.py::test_what_cannot_be_loaded_ends_the_start_with_both_versions",
        "decisions/0025-models-of-another-version.md",
    ),
    Deviation(
        "A body may have 25 MiB (setting invocation_body_bytes_max)",
        "the guide says 25 MB, the model 6 MiB",
        "tests/publisher/test_runtime_errors.py::test_25_mebibytes_and_not_a_byte_more",
        "invoking.md",
    ),
    Deviation(
        "Without RoutingConfig a request goes to the less busy of two instances that are drawn at random",
        "to any instance, at random",
        "tests/envoy/test_resources.py::test_without_a_strategy_the_less_busy_of_two_that_are_drawn_gets_a_request",
        "invoking.md",
    ),
    Deviation(
        "A ModelError names the endpoint's log group in its Message, and LogStreamArn is empty: the proxy does not know the instance's stream",
        "Message has an address in CloudWatch's console, and LogStreamArn an ARN",
        "tests/aws/test_runtime_errors.py::test_a_models_own_error_is_repeated_whole",
    ),
    Deviation(
        "A ModelError repeats at most the first 64 KiB of what the model answered",
        "its Message says that it could not load the entire response body",
        "tests/publisher/test_runtime_errors.py::test_any_bytes_can_be_repeated_in_a_model_error",
    ),
    Deviation(
        "A stream that the model breaks off ends without its last chunk, which boto3 raises as a ProtocolError",
        "an event says ModelStreamError, StreamBroken",
        "tests/publisher/test_streams.py::test_a_stream_that_the_model_breaks_is_not_taken_for_a_whole_one",
        "decisions/0016-streams-and-sessions.md",
    ),
    Deviation(
        "The id of a session is the model's with some characters more; the session stays with its instance through every shift",
        "",
        "tests/publisher/test_sessions.py::test_a_session_stays_while_traffic_is_shifted_and_ends_with_its_fleet",
        "decisions/0016-streams-and-sessions.md",
    ),
    Deviation(
        "Without ContentType the model gets application/octet-stream",
        "",
        "tests/publisher/test_serving.py::test_a_missing_content_type_becomes_octet_stream",
        "invoking.md",
    ),
    Deviation(
        "A shadow variant cannot be TargetVariant",
        "",
        "tests/scenarios/test_shadow.py::test_a_shadow_cannot_be_invoked_by_name",
        "shadow.md",
    ),
    Deviation(
        "A header that is longer than its member may be (CustomAttributes: 1,024 characters), or not of its pattern, is a ValidationError; all headers together may have 60 KiB, and 431 says if they have more",
        "",
        "tests/publisher/test_headers.py::test_a_header_that_is_too_long_is_refused_before_a_model_sees_it",
        "invoking.md",
    ),
    Deviation(
        "Only documented headers reach the model, and only documented ones come back",
        "others are stripped towards the model, and some may be added",
        "tests/publisher/test_headers.py::test_only_documented_headers_reach_the_model",
        "invoking.md",
    ),
)
MONITORING: Final = (
    Deviation(
        "AccountId is one's own; metrics of other accounts are refused",
        "they can be read",
        "tests/aws/cloudwatch/test_cloudwatch.py::test_metrics_of_ones_own_account_may_be_named",
        "alarms.md",
    ),
    Deviation(
        "Operators of anomaly detection are refused",
        "supported",
        "tests/operations/test_alarms.py::test_what_cloudwatch_can_and_bannister_cannot_is_said",
        "alarms.md",
    ),
    Deviation(
        "Expressions are metric math; queries of Metrics Insights (SELECT) are refused",
        "both",
        "tests/aws/cloudwatch/test_metric_data.py::test_wrong_requests",
        "metric-math.md",
    ),
    Deviation(
        "Alarms are evaluated every second, over periods that end there",
        "every minute, or every 10 s; the setting timing = aws does so here",
        "tests/evaluator/test_loop.py::test_the_window_slides_with_every_second_and_its_end_is_exclusive",
        "alarms.md",
    ),
    Deviation(
        "An alarm of a running deployment goes to ALARM as soon as that is certain",
        "at the end of the period",
        "tests/evaluator/test_early.py::test_an_alarm_that_a_deployment_names_is_decided_when_it_is_certain",
        "decisions/0011-deciding-as-soon-as-it-is-certain.md",
    ),
    Deviation(
        "Endpoint metrics are there by the second, as soon as a second is over",
        "by the minute",
        "tests/operations/test_metric_data.py::test_endpoint_metrics_are_seen_as_they_are_published",
        "metrics.md",
    ),
    Deviation(
        "Percentiles are within a bound of the truth, which the page on metrics names",
        "",
        "tests/domain/metric/test_sketch.py::test_any_many_values_are_within_the_bound",
        "metrics.md",
    ),
    Deviation(
        "Missing data are looked for in two periods more than EvaluationPeriods",
        "some more, without a rule; its examples come out the same",
        "tests/domain/alarm/test_judgement.py::test_aws_tables",
        "alarms.md",
    ),
    Deviation(
        "Actions that are http or https addresses are told by a POST; ARNs are written down in the history, and nothing is done",
        "actions are ARNs, which are executed",
        "tests/evaluator/test_notifier.py::test_it_is_told_and_the_history_says_so",
        "alarms.md",
    ),
    Deviation(
        "A composite alarm's rule that leads back to itself is refused",
        "it is taken, and evaluation stops",
        "tests/operations/test_composite_alarms.py::test_a_circle_is_refused_with_its_way",
        "decisions/0010-composite-alarms-in-one-commit.md",
    ),
    Deviation(
        "GetMetricData with expressions comes in pages too",
        "without a token where there are expressions",
        "tests/operations/test_metric_data.py::test_pages_together_are_the_whole",
        "decisions/0012-metric-math.md",
    ),
    Deviation(
        "What the documentation of metric math does not say (operators between two arrays, NOT) is refused",
        "",
        "tests/operations/test_metric_data.py::test_wrong_requests",
        "decisions/0012-metric-math.md",
    ),
)
AROUND: Final = (
    Deviation(
        "Events of endpoints are posted to addresses in the settings; the last one says DELETED, and FailureReason is in them",
        "they go to EventBridge, with rules; neither is documented",
        "tests/domain/test_endpoint_event.py::test_a_creation_that_fails_and_its_deletion",
        "events.md",
    ),
    Deviation(
        "FilterLogEvents lists from the oldest event on; startFromHead=false is refused",
        "either end",
        "tests/aws/logs/test_logs.py::test_refusals",
        "decisions/0017-times-of-log-lines.md",
    ),
    Deviation(
        "InvokeEndpointAsync and InvokeEndpointWithBidirectionalStream are refused, naming what there is",
        "supported",
        "tests/aws/test_gateway.py::test_other_ways_to_invoke_say_that_they_are_not_supported",
        "decisions/0015-real-time-endpoints-only.md",
    ),
    Deviation(
        "Any credentials will do: there is one account and one region, and nobody is kept out; so only this machine is let in",
        "",
        "tests/aws/test_gateway.py::test_strangers_are_refused_with_a_sentence",
        "aws-tools.md",
    ),
    Deviation(
        "Every role exists",
        "those that were created",
        "tests/aws/test_identity.py::test_every_role_exists_and_is_always_the_same",
        "aws-tools.md",
    ),
    Deviation(
        "A simulation of what a role may do says that it may do everything; a policy to be evaluated is refused",
        "what its policies allow",
        "tests/aws/test_identity.py::test_a_role_may_do_everything_since_there_are_no_policies",
        "aws-tools.md",
    ),
    Deviation(
        "Log groups are there as long as a log is kept; an event's time is when its line was seen, within a second",
        "groups are created and deleted",
        "tests/aws/logs/test_logs.py::test_a_group_for_each_endpoint",
        "decisions/0017-times-of-log-lines.md",
    ),
    Deviation(
        "Filter patterns are terms and phrases; those for JSON and columns and regular expressions are refused",
        "all of them",
        "tests/domain/test_log_pattern.py::test_what_is_refused",
        "decisions/0017-times-of-log-lines.md",
    ),
    Deviation(
        "Objects have no tags, versions, locks or access lists",
        "objects can have them",
        "tests/aws/s3/test_client.py::test_objects_have_no_tags",
        "aws-tools.md",
    ),
)

#: By subject, in the order of the page.
DEVIATIONS: Final = {
    "Updating endpoints": DEPLOYMENTS,
    "Models, configurations and endpoints": ENDPOINTS,
    "Shadows and experiments": EXPERIMENTS,
    "Invoking": INVOKING,
    "Metrics and alarms": MONITORING,
    "Everything around": AROUND,
}
