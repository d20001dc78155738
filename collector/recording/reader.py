"""Opens a recording of any form."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from collector.errors import ConfigurationError
from collector.recording import books, cryptofeed, examples, own
from collector.recording.frames import Broken, CutRecording, Form, Frame, Protocol, Unintelligible
from collector.recording.lines import read_lines

SNIFFED_LINES = 10


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded session; iterate it, any number of times, for its frames in the order of arrival.

    Iteration raises `CutRecording` after the last whole frame of a file that breaks off, and
    `ConfigurationError` where a line is not what the file's form promises.
    """

    path: Path
    form: Form

    @property
    def protocol(self) -> Protocol:
        """Whose words the frames are in."""
        return self.form.protocol

    def __iter__(self) -> Iterator[Frame]:
        count = 0
        try:
            for frame in self.form.frames(read_lines(self.path)):
                count += 1
                yield frame
        except Broken:
            raise CutRecording(self.path, count) from None
        except Unintelligible as error:
            message = f"Recording {self.path} can't be read after {count} frames: {error}"
            raise ConfigurationError(message) from None


def open_recording(path: Path) -> Recording:
    """Find out what kind of recording `path` is.

    Raises:
        ConfigurationError: there is no such file, or it is not a recording.
    """
    head = _head(path)
    for recognise in (own.recognise, examples.recognise, books.recognise, cryptofeed.recognise):
        if head and (form := recognise(head)):
            return Recording(path, form)
    raise ConfigurationError(f"{path} is not a recording: make one with `collector record FILE`")


def _head(path: Path) -> list[str]:
    """Read the first lines; what breaks off later may still be recognised, what is no text is not."""
    head: list[str] = []
    try:
        head.extend(islice(read_lines(path), SNIFFED_LINES))
    except Broken:
        pass
    except Unintelligible:
        return []
    return head
