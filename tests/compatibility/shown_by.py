"""The operations in groups, as a newcomer looks for them, each with the tests that show it at work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SAGEMAKER, CLOUDWATCH, LOGS, S3 = "sagemaker", "cloudwatch", "logs", "s3"
_STEPS: Final = "tests/scenarios/test_first_steps.py::test_an_endpoint_from_creation_to_deletion"
_EXPERIMENT: Final = "tests/aws/test_inference_experiments.py::test_the_life_of_an_experiment"
_TAGS: Final = "tests/aws/test_tags.py::test_every_kind_has_tags_under_the_arn_that_it_was_given"
_GIVEN: Final = "tests/compatibility/test_members.py::test_what_was_given_comes_back"
_ALARM: Final = "tests/aws/cloudwatch/test_cloudwatch.py::test_an_alarm_comes_back_as_it_was_put"
_ALARM_LIFE: Final = "tests/aws/cloudwatch/test_cloudwatch.py::test_a_state_set_by_hand_and_the_history_after_deletion"
_ALARM_TAGS: Final = "tests/aws/cloudwatch/test_alarms.py::test_tags"
_DATA: Final = "tests/aws/cloudwatch/test_cloudwatch.py::test_metric_data_comes_back_as_statistics"
_BUCKETS: Final = "tests/aws/s3/test_client.py::test_buckets"
_UPLOAD: Final = "tests/aws/s3/test_client.py::test_an_upload_step_by_step"
_OWN: Final = "tests/aws/deployments/test_service.py::"
_REPORT: Final = (
    "tests/scenarios/test_shadow_report.py::test_the_documentations_shadow_is_put_there_judged_and_guards_its_promotion"
)


@dataclass(frozen=True)
class Group:
    """Operations that belong together."""

    title: str
    service: str
    operations: Mapping[str, tuple[str, ...]]


GROUPS: Final = (
    Group(
        "Models",
        SAGEMAKER,
        {
            "CreateModel": (_GIVEN, "tests/scenarios/test_bad_input.py::test_models_that_cannot_be"),
            "DescribeModel": (_GIVEN,),
            "ListModels": ("tests/operations/test_listing.py::test_filters",),
            "DeleteModel": (_STEPS,),
        },
    ),
    Group(
        "Endpoint configurations",
        SAGEMAKER,
        {
            "CreateEndpointConfig": (_GIVEN, "tests/scenarios/test_bad_input.py::test_variants_that_cannot_be"),
            "DescribeEndpointConfig": (_GIVEN,),
            "ListEndpointConfigs": ("tests/aws/test_unserved.py::test_it_is_kept_and_described_as_it_was_given",),
            "DeleteEndpointConfig": (
                "tests/scenarios/test_bad_input.py::test_deleting_what_an_endpoint_runs_does_not_touch_it",
            ),
        },
    ),
    Group(
        "Endpoints",
        SAGEMAKER,
        {
            "CreateEndpoint": (_STEPS, "tests/scenarios/test_notebooks.py::test_the_guardrail_notebook"),
            "UpdateEndpoint": (
                "tests/scenarios/test_strategies.py::test_a_good_version_replaces_the_old_one",
                "tests/scenarios/test_strategies.py::test_a_bad_version_is_rolled_back",
                "tests/scenarios/test_rolling.py::test_a_good_version_replaces_the_old_one_batch_by_batch",
            ),
            "UpdateEndpointWeightsAndCapacities": (
                "tests/scenarios/test_scaling.py::test_weights_and_counts_change_under_load_and_nothing_is_lost",
            ),
            "DescribeEndpoint": ("tests/scenarios/test_notebooks.py::test_the_guardrail_notebook",),
            "ListEndpoints": (_STEPS,),
            "DeleteEndpoint": (_STEPS,),
        },
    ),
    Group(
        "Inference experiments",
        SAGEMAKER,
        {
            "CreateInferenceExperiment": (
                _EXPERIMENT,
                "tests/scenarios/test_experiments.py::test_the_notebook_promotes_the_shadow",
            ),
            "DescribeInferenceExperiment": (_EXPERIMENT, _GIVEN),
            "ListInferenceExperiments": (
                "tests/aws/test_inference_experiments.py::test_listing_filters_sorts_and_pages",
            ),
            "UpdateInferenceExperiment": (_EXPERIMENT,),
            "StartInferenceExperiment": (
                "tests/scenarios/test_experiments.py::test_scheduled_for_later_started_early_and_ended_by_the_clock",
            ),
            "StopInferenceExperiment": (_EXPERIMENT,),
            "DeleteInferenceExperiment": (_EXPERIMENT,),
        },
    ),
    Group("Tags", SAGEMAKER, {"AddTags": (_TAGS,), "ListTags": (_TAGS,), "DeleteTags": (_TAGS,)}),
    Group(
        "Invoking",
        "sagemaker-runtime",
        {
            "InvokeEndpoint": (
                "tests/scenarios/test_first_steps.py::test_invoking_by_variant_with_custom_attributes_and_errors",
                "tests/publisher/test_sessions.py::test_requests_of_a_session_go_to_the_instance_that_holds_it",
            ),
            "InvokeEndpointWithResponseStream": ("tests/publisher/test_streams.py::test_tokens_arrive_one_by_one",),
        },
    ),
    Group(
        "Metrics",
        CLOUDWATCH,
        {
            "PutMetricData": (_DATA, "tests/aws/cloudwatch/test_cloudwatch.py::test_metric_data_at_the_limits"),
            "GetMetricStatistics": (_DATA,),
            "GetMetricData": ("tests/aws/cloudwatch/test_metric_data.py::test_metrics_and_expressions",),
            "ListMetrics": (_DATA,),
        },
    ),
    Group(
        "Alarms",
        CLOUDWATCH,
        {
            "PutMetricAlarm": (_ALARM, "tests/scenarios/test_alarms.py::test_awss_tables_from_put_metric_data"),
            "PutCompositeAlarm": ("tests/aws/cloudwatch/test_alarms.py::test_a_composite_comes_back_as_it_was_put",),
            "DescribeAlarms": (
                _ALARM,
                "tests/aws/cloudwatch/test_cloudwatch.py::test_the_waiter_and_the_paginator_of_boto3",
            ),
            "DescribeAlarmsForMetric": (_ALARM,),
            "DescribeAlarmHistory": ("tests/aws/cloudwatch/test_alarms.py::test_history_by_kind_of_alarm_and_of_item",),
            "SetAlarmState": (_ALARM_LIFE,),
            "EnableAlarmActions": ("tests/operations/test_alarms.py::test_switching_actions",),
            "DisableAlarmActions": (_ALARM_LIFE,),
            "DeleteAlarms": ("tests/aws/cloudwatch/test_alarms.py::test_deleting_what_is_needed",),
            "TagResource": (_ALARM_TAGS,),
            "UntagResource": (_ALARM_TAGS,),
            "ListTagsForResource": (_ALARM_TAGS,),
        },
    ),
    Group(
        "Logs",
        LOGS,
        {
            "DescribeLogGroups": ("tests/aws/logs/test_logs.py::test_a_group_for_each_endpoint",),
            "DescribeLogStreams": ("tests/aws/logs/test_logs.py::test_what_is_said_of_a_stream",),
            "GetLogEvents": (
                "tests/aws/logs/test_logs.py::test_the_latest_events_come_first_and_tokens_lead_both_ways",
            ),
            "FilterLogEvents": (
                "tests/aws/logs/test_logs.py::test_streams_are_merged_by_time_in_pages_of_any_size",
                "tests/scenarios/test_aws_tools.py::test_logs_are_followed",
            ),
        },
    ),
    Group(
        "Who calls",
        "sts",
        {"GetCallerIdentity": ("tests/aws/test_identity.py::test_the_caller_is_in_a_role_of_the_one_account",)},
    ),
    Group(
        "Roles",
        "iam",
        {
            "GetRole": ("tests/aws/test_identity.py::test_every_role_exists_and_is_always_the_same",),
            "SimulatePrincipalPolicy": (
                "tests/aws/test_identity.py::test_a_role_may_do_everything_since_there_are_no_policies",
            ),
        },
    ),
    Group(
        "Buckets",
        S3,
        {
            "ListBuckets": (
                _BUCKETS,
                "tests/compatibility/test_s3_members.py::test_buckets_come_by_pages_and_by_prefix",
            ),
            "CreateBucket": (_BUCKETS,),
            "HeadBucket": (_BUCKETS,),
            "GetBucketLocation": (_BUCKETS,),
            "DeleteBucket": (_BUCKETS,),
            "ListObjects": ("tests/aws/s3/test_client.py::test_a_listing_of_2500_keys_in_pages",),
            "ListObjectsV2": ("tests/aws/s3/test_client.py::test_a_listing_of_2500_keys_in_pages",),
            "DeleteObjects": ("tests/aws/s3/test_wire.py::test_some_deletions_may_fail_and_quiet_names_only_those",),
        },
    ),
    Group(
        "Objects",
        S3,
        {
            "PutObject": ("tests/aws/s3/test_client.py::test_an_object_comes_back_with_all_that_was_given",),
            "GetObject": (
                "tests/aws/s3/test_client.py::test_ranges",
                "tests/aws/s3/test_client.py::test_conditions",
            ),
            "HeadObject": ("tests/aws/s3/test_client.py::test_an_object_comes_back_with_all_that_was_given",),
            "GetObjectTagging": ("tests/aws/s3/test_client.py::test_objects_have_no_tags",),
            "PutObjectTagging": ("tests/aws/s3/test_client.py::test_tags_are_accepted_and_not_kept",),
            "DeleteObjectTagging": ("tests/aws/s3/test_client.py::test_tags_are_accepted_and_not_kept",),
            "CopyObject": ("tests/aws/s3/test_client.py::test_copies",),
            "DeleteObject": ("tests/aws/s3/test_client.py::test_keys_are_raw",),
            "CreateMultipartUpload": (_UPLOAD,),
            "UploadPart": (_UPLOAD,),
            "UploadPartCopy": ("tests/aws/s3/test_client.py::test_a_large_copy_goes_in_parts",),
            "ListParts": (_UPLOAD,),
            "CompleteMultipartUpload": (
                "tests/aws/s3/test_client.py::test_an_upload_completed_wrongly_stays_as_it_is",
            ),
            "AbortMultipartUpload": ("tests/aws/s3/test_client.py::test_an_aborted_upload_is_gone",),
        },
    ),
    Group(
        "Deployments, events and reports on shadows",
        "bannister",
        {
            "ListDeployments": (f"{_OWN}test_lists_come_by_pages",),
            "DescribeDeployment": (f"{_OWN}test_a_running_deployment_is_described_whole",),
            "ListEvents": (f"{_OWN}test_events_are_listed_whole_and_by_pages",),
            "DescribeEventWebhooks": (
                "tests/operations/test_events.py::test_of_an_address_its_host_is_shown_and_what_waits",
                "tests/scenarios/test_events.py::test_a_killed_control_plane_misses_nothing_and_changes_no_id",
            ),
            "ListDecisions": (f"{_OWN}test_a_rollback_is_asked_for_and_told_by_the_decisions",),
            "RollbackDeployment": (f"{_OWN}test_a_rollback_is_asked_for_and_told_by_the_decisions",),
            "DescribeShadowReport": (_REPORT,),
            "PutComparisonRules": ("tests/operations/test_shadows.py::test_rules_are_kept_by_endpoint",),
            "DescribeComparisonRules": ("tests/operations/test_shadows.py::test_rules_are_kept_by_endpoint",),
        },
    ),
)
