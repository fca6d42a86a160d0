"""Model files that are loaded and served by themselves, without code of the user's.

| kind | files | what answers |
| --- | --- | --- |
| scikit-learn, and whatever has a `predict` | `*.joblib`, `*.pkl`, `*.pickle` | `model.predict` |
| XGBoost | `xgboost-model` (native or pickled), `*.ubj`, `*.bst`, `*.xgb`, `*.json` that is a Booster | `Booster.predict` |
| LightGBM | `lightgbm-model`, `*.txt` that is a Booster | `Booster.predict` |
| ONNX | `*.onnx` | `onnxruntime` |
| PyTorch | `*.pt`, `*.pth` with TorchScript, `*.pt2` of `torch.export` | the module |

    loading     says what went wrong, with the remedy; imports libraries
    finding     which file of a folder is the model, and what kind it is
    pickled     joblib and pickle files
    versions    which versions wrote a file, read without running anything of it
    served      a loaded model, and what is done where the user's code does not say; others by kind:
    xgboost, lightgbm, onnx, torch

A library is imported once a file needs it. What is served depends on the loaded object, not on the file: a Booster that
`model_fn` returns, or that was pickled, is served like one from its own file.
"""
