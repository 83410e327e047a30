"""Imports torchaudio even if its compiled extension cannot be loaded.

The extension links CUDA. So `import torchaudio` fails with a CPU-only torch (OSError) and with a torch for another CUDA
version (RuntimeError). Companding, resampling and spectrograms are pure PyTorch and need no extension. Always import
torchaudio from here:

    from waveletgpt.tokenizers.audio.pure_torchaudio import torchaudio
"""

import sys
from types import ModuleType
from typing import Any

try:
    import torchaudio
except (OSError, RuntimeError):

    def _needs_extension(*_arguments: Any, **_options: Any) -> Any:
        raise RuntimeError("this function needs torchaudio's compiled extension, which cannot be loaded")

    _stub = ModuleType("torchaudio._extension")
    vars(_stub).update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _check_cuda_version=lambda: None,
        fail_if_no_align=lambda _function: _needs_extension,
    )
    sys.modules[_stub.__name__] = _stub
    import torchaudio

__all__ = ["torchaudio"]
