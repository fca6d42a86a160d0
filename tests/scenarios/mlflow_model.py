"""Saves a model as MLflow does, by MLflow: `python mlflow_model.py FACTOR FOLDER`, under an interpreter that has it."""

import sys

import mlflow.sklearn
import numpy as np
from sklearn.linear_model import LinearRegression

factor, folder = float(sys.argv[1]), sys.argv[2]
x = np.arange(10.0).reshape(-1, 1)
model = LinearRegression().fit(x, factor * x.ravel())
packages = ["mlflow-skinny", "scikit-learn"]
mlflow.sklearn.save_model(model, folder, pip_requirements=packages, serialization_format="cloudpickle")
