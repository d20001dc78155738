"""Recorded sessions: frames as they arrived, from recordings of this program and of others.

`open_recording` detects the format by content, not by name; each is plain, gzipped or zstd-compressed:

- our own (`own`), written by `RecordingWriter`;
- cryptofeed captures of Bithumb's older socket, and of Upbit's (`cryptofeed`): these are put into Bithumb's
  current words, on the text itself, so that every digit stays as it was printed;
- `*.jsonl` with one example frame in the `raw` field of each line (`examples`);
- CSV order books polled over REST (`books`): each becomes an `orderbook` frame.

A long session may be in several files with an index (`rotation`), which is opened like any of them.

Reading streams: memory is bounded by the longest line.
"""

from collector.recording.format import CutRecording, Frame, Protocol
from collector.recording.reader import Recording, open_recording
from collector.recording.rotation import Limits, RotatingWriter
from collector.recording.writer import RecordingWriter

__all__ = [
    "CutRecording",
    "Frame",
    "Limits",
    "Protocol",
    "Recording",
    "RecordingWriter",
    "RotatingWriter",
    "open_recording",
]
