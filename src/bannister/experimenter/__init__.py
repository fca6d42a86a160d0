"""The experimenter: carries each inference experiment from one decision to the next."""
