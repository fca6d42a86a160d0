"""aws/s3"""
