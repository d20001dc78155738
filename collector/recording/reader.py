"""Opens a recording of any form, in one file or in several."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from collector.errors import ConfigurationError
from collector.recording import books, cryptofeed, examples, own
from collector.recording.format import Broken, CutRecording, Damaged, Form, Frame, Protocol, Unintelligible
from collector.recording.lines import read_lines
from collector.recording.rotation import read_index

SNIFFED_LINES = 10


#: Called with the number of further bytes of the files that were read.
Read = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Recording:
    """A recorded session; iterate it, any number of times, for its frames in the order of arrival.

    Iteration raises `CutRecording` after the last whole frame of a file that breaks off, and
    `ConfigurationError` where a line is not what the file's form promises.

    Attributes:
        files: what it is made of; `path` alone, or the files that the index at `path` names.
    """

    path: Path
    form: Form
    files: tuple[Path, ...]

    @property
    def protocol(self) -> Protocol:
        """Whose words the frames are in."""
        return self.form.protocol

    @property
    def size(self) -> int:
        """Bytes of its files, as they lie on the disk."""
        return sum(file.stat().st_size for file in self.files)

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    def frames(self, read: Read | None = None) -> Iterator[Frame]:
        """Yield the frames; `read` is called with the number of further bytes, for a progress bar."""
        return chain.from_iterable(self._frames_of(file, read) for file in self.files)

    def _frames_of(self, file: Path, read: Read | None) -> Iterator[Frame]:
        count = 0
        try:
            for frame in self.form.frames(read_lines(file, read)):
                count += 1
                yield frame
        except Broken:
            raise CutRecording(file, count) from None
        except Unintelligible as error:
            message = f"Recording {file} can't be read after {count} frames: {error}"
            raise ConfigurationError(message) from None


def open_recording(path: Path, from_us: int | None = None, to_us: int | None = None) -> Recording:
    """Find out what kind of recording `path` is.

    Args:
        path: a file, or the index of a recording in several.
        from_us: of an index, leave out files that end before.
        to_us: of an index, leave out files that begin after.

    Raises:
        ConfigurationError: there is no such file, or it is not a recording.
    """
    if (index := read_index(path)) is not None:
        files = tuple(path.with_name(part.file) for part in index.within(from_us, to_us))
        forms = {file: _form(file) for file in files}
        return Recording(path, next(iter(forms.values()), own.form(index.protocol)), files)
    return Recording(path, _form(path), (path,))


def _form(path: Path) -> Form:
    head, is_damaged = _head(path)
    for recognise in (own.recognise, examples.recognise, books.recognise, cryptofeed.recognise):
        if head and (form := recognise(head)):
            return form
    damaged = ", or a damaged one" if is_damaged else ""
    raise ConfigurationError(f"{path} is not a recording{damaged}: make one with `collector record FILE`")


def _head(path: Path) -> tuple[list[str], bool]:
    """Return the first lines, and whether they are damaged; what breaks off later may be whole here."""
    head: list[str] = []
    try:
        head.extend(islice(read_lines(path), SNIFFED_LINES))
    except Broken:
        pass
    except Unintelligible as error:
        return [], isinstance(error, Damaged)
    return head, False
