"""Which files are taken for videos: by their ending, or by their first bytes where the ending says nothing."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

OVERLAY_ENDINGS = (".mp4", ".avi", ".mov")
"""Containers in which an overlay is written."""

VIDEO_ENDINGS = (
    *OVERLAY_ENDINGS,
    ".mkv", ".m4v", ".wmv", ".webm", ".mpg", ".mpeg", ".flv", ".ts",
    # Cameras and recorders: Dahua, Windows Media, phones, camcorders, broadcast, DVD.
    ".dav", ".asf", ".3gp", ".3g2", ".mts", ".m2ts", ".m2t", ".mxf", ".vob", ".dv", ".ogv",
    # Bare streams without a container.
    ".h264", ".264", ".h265", ".265", ".hevc", ".m2v", ".mjpeg", ".mjpg", ".ivf",
)  # fmt: skip
"""Endings, in lower case, by which a file in a folder is taken for a clip."""

_NO_VIDEO = (
    ".bmp", ".csv", ".db", ".doc", ".docx", ".gz", ".h5", ".hdf5", ".htm", ".html", ".ini", ".jpeg", ".jpg", ".js",
    ".json", ".jsonl", ".log", ".m4a", ".md", ".mp3", ".npy", ".npz", ".onnx", ".parquet", ".pdf", ".pickle", ".pkl",
    ".png", ".pt", ".pth", ".py", ".pyc", ".sh", ".srt", ".sub", ".svg", ".tar", ".tflite", ".tif", ".tiff", ".toml",
    ".tsv", ".txt", ".wav", ".webp", ".xls", ".xlsx", ".xml", ".yaml", ".yml", ".zip",
)  # fmt: skip
"""Endings of files that are not opened to see whether they are videos: folders may hold a hundred thousand pictures."""

# Bytes at the start of a file, and where.
_SIGNATURES = (
    (0, b"GIF8"),
    (0, b"\x1a\x45\xdf\xa3"),  # Matroska, WebM
    (0, b"FLV\x01"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),  # ASF, WMV
    (0, b"\x00\x00\x01\xba"),  # MPEG program stream
    (0, b"\x00\x00\x01\xb3"),  # MPEG video
    (0, b"DHAV"),  # Dahua
    (0, b"DAHUA"),
    (0, b"IMKH"),  # Hikvision
    (0, b"DKIF"),  # IVF
    (0, b".RMF"),  # RealMedia
    (0, b"YUV4MPEG2"),
    (0, b"\x06\x0e\x2b\x34\x02\x05\x01\x01"),  # MXF
    (0, b"\x1f\x07\x00"),  # DV
    (8, b"AVI "),
    (4, b"moov"),
    (4, b"mdat"),
    (4, b"wide"),
    # H.264 and H.265 streams begin with their parameter sets.
    (0, b"\x00\x00\x00\x01\x67"),
    (0, b"\x00\x00\x00\x01\x27"),
    (0, b"\x00\x00\x00\x01\x40\x01"),
    (0, b"\x00\x00\x00\x01\x09"),
)

# Brands of ISO files that hold pictures or sound.
_NO_FILM_BRANDS = (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"M4A ", b"M4B ", b"crx ")

_TRANSPORT_PACKETS = ((0, 188), (4, 192))
"""MPEG transport streams have the byte 0x47 at this place, and again after so many bytes."""


def is_video_name(name: str) -> bool:
    """Tell by its ending whether a file is taken for a video."""
    return PurePosixPath(name).suffix.lower() in VIDEO_ENDINGS


def may_be_video(path: Path) -> bool:
    """Tell whether a file without the ending of a video may be one, by its first bytes; nothing is decoded.

    A file that cannot be read is none: the code that needs it will say so.
    """
    # Known endings of other files spare the read, which is slow on a network share.
    if path.suffix.lower() in _NO_VIDEO:
        return False
    try:
        with path.open("rb") as stream:
            head = stream.read(1024)
    except OSError:
        return False
    # Sound and still pictures use the same container as films; the brand tells them apart.
    if head[4:8] == b"ftyp":
        return head[8:12] not in _NO_FILM_BRANDS
    if head[:4] == b"OggS":
        return b"theora" in head
    # Transport streams have no header, only the sync byte 0x47 at each packet; three in a row are no accident.
    transport = any(
        len(head) > start + 2 * length and all(head[start + i * length] == 0x47 for i in range(3))
        for start, length in _TRANSPORT_PACKETS
    )
    return transport or any(head[at : at + len(mark)] == mark for at, mark in _SIGNATURES)
