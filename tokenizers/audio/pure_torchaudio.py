"""torchaudio's pure PyTorch functions, also where its compiled extension cannot be loaded.

The wheel's extension links CUDA, so `import torchaudio` fails beside a CPU-only torch (OSError) and beside
one for another version of CUDA (RuntimeError), though companding, resampling and spectrograms need nothing
of it. Import torchaudio from here everywhere:

    from waveletgpt.tokenizers.audio.pure_torchaudio import torchaudio
"""

import sys
from types import ModuleType
from typing import Any

try:
    import torchaudio
except (OSError, RuntimeError):

    def _needs_extension(*_arguments: Any, **_options: Any) -> Any:
        raise RuntimeError("this function needs torchaudio's compiled extension, which cannot be loaded here")

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
