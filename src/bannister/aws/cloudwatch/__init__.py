"""aws/cloudwatch"""
