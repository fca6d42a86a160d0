"""The deployer: carries each deployment from one decision to the next."""
