"""nftables by its library (libnftables(3)): commands as nft(8) reads them, through one socket that owns tables."""

import ctypes
from collections.abc import Callable

from devlink.errors import HelperError

LIBRARY = "libnftables.so.1"


class Nft:
    """One context. Tables that it makes with `flags owner` (kernel 5.12) are its own: nobody else can change them, and
    the kernel removes them when it is closed, or when this process ends however that ends.
    """

    def __init__(self, failure: Callable[[str], HelperError]) -> None:
        """`failure` makes the error of a reason. Raises it where there is no such library."""
        self._failure = failure
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise failure(f"The library {LIBRARY} cannot be loaded: {error}.") from error
        self._library.nft_ctx_new.restype = ctypes.c_void_p
        for buffer in (self._library.nft_ctx_get_error_buffer, self._library.nft_ctx_get_output_buffer):
            buffer.restype = ctypes.c_char_p
        self._context: ctypes.c_void_p | None = ctypes.c_void_p(self._library.nft_ctx_new(ctypes.c_uint32(0)))
        if not self._context:
            raise failure("libnftables cannot be used.")
        self._library.nft_ctx_buffer_error(self._context)  # else it writes to stderr
        self._library.nft_ctx_buffer_output(self._context)

    def run(self, commands: str) -> str:
        """Run them as one transaction; what they say. Raises the failure with the first line of what is wrong."""
        if self._library.nft_run_cmd_from_buffer(self._context, ctypes.c_char_p(commands.encode())) != 0:
            lines = self._said(self._library.nft_ctx_get_error_buffer).strip().splitlines()
            raise self._failure(f"nftables says: {lines[0].rstrip('.') if lines else 'nothing'}.")
        return self._said(self._library.nft_ctx_get_output_buffer)

    def close(self) -> None:
        """Its tables end with it. May be repeated."""
        if self._context is not None:
            self._library.nft_ctx_free(self._context)
            self._context = None

    def _said(self, buffer: Callable[[ctypes.c_void_p | None], bytes | None]) -> str:
        return (buffer(self._context) or b"").decode(errors="backslashreplace")
