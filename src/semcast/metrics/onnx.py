"""Networks of others as ONNX files: opened once, on the CPU, and refused in a sentence where they cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from semcast.errors import BadInput, Missing


def open_session(path: Path, threads: int, what: str) -> Any:
    """Open an ONNX model with onnxruntime.

    Args:
        what: the model is, for the sentence that says it is not there.

    Raises:
        Missing: onnxruntime or the file is.
        BadInput: it is no ONNX model.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise Missing(f"{what} needs onnxruntime: pip install 'semcast[identity]'") from error
    if not path.is_file():
        raise Missing(f"there is no {what} model {path}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # failures reach the user as SemcastError
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BadInput(f"{path} is not an ONNX model that onnxruntime can read") from error
