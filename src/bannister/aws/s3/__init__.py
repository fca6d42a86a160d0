"""S3's wire format in front of the object store: what boto3, the AWS CLI and the SageMaker SDK send to `s3://`."""
