"""Why an archive is refused: one reason code for each kind of defect, with what the sender or operator can do."""

from __future__ import annotations

from pipeline_assets.errors import RejectedObjectError

_SHOWN = 100  # characters of a name in a message
_DELIVER_AGAIN = "Deliver it again, whole."
_PACK_AGAIN = "Ask the sender to pack the files again with an ordinary zip program."
_RENAME = "Ask the sender to rename the file and to pack again."

REMEDIES = {
    "archive_not_zip": "Deliver a zip archive.",
    "archive_truncated": _DELIVER_AGAIN,
    "archive_damaged": _DELIVER_AGAIN,
    "archive_corrupt_data": _DELIVER_AGAIN,
    "archive_checksum_mismatch": _DELIVER_AGAIN,
    "archive_multi_disk": "Deliver it as one file.",
    "archive_zip64_mismatch": _PACK_AGAIN,
    "archive_ambiguous_end": _PACK_AGAIN,
    "archive_stray_bytes": _PACK_AGAIN,
    "archive_overlap": _PACK_AGAIN,
    "archive_header_mismatch": _PACK_AGAIN,
    "archive_size_mismatch": _PACK_AGAIN,
    "archive_encrypted": "Deliver it without a password.",
    "archive_unsupported_method": "Ask the sender to pack with the method deflate.",
    "archive_special_file": "Ask the sender to pack plain files only.",
    "archive_too_many_entries": "Ask the sender to split it, or raise PIPELINE_ARCHIVE_MAX_ENTRIES.",
    "archive_too_many_bytes": "Ask the sender to split it, or raise PIPELINE_ARCHIVE_MAX_BYTES.",
    "archive_extreme_ratio": "If the sender is to be trusted, raise PIPELINE_ARCHIVE_MAX_RATIO.",
    "archive_path_traversal": _RENAME,
    "archive_absolute_name": _RENAME,
    "archive_drive_letter": _RENAME,
    "archive_backslash": _RENAME,
    "archive_control_character": _RENAME,
    "archive_unusable_name": _RENAME,
    "archive_duplicate_name": _RENAME,
    "archive_colliding_name": _RENAME,
    "archive_file_as_folder": _RENAME,
}


class RefusedArchiveError(RejectedObjectError):
    """An archive is refused as a whole; nothing of it was kept. `code` is one of REMEDIES."""

    def __init__(self, archive: str, code: str, problem: str) -> None:
        super().__init__(f"The archive {archive} is refused: {problem}.", code=code, remedy=REMEDIES[code])


def shown(name: str) -> str:
    """A name from an archive as it may stand in a message: quoted, on one line, shortened."""
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…")
