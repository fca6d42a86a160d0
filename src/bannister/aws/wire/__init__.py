"""aws/wire"""
