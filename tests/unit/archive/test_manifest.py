"""The manifest beside Parquet files: a damaged footer is noticed, a file that is being replaced is none."""

import logging
import shutil
from pathlib import Path

import pytest

from collector.archive import legacy, manifest, parquet
from collector.archive.files import Files
from collector.archive.schema import CANDLES, TRADES
from collector.util import atomic_file

T0 = 1_790_000_000_000 // 3_600_000 * 3_600_000
OLD = Path(__file__).resolve().parents[2] / "integration/archive/text_layout/channel=trades/date=2026-09-21"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def put(files: Files, *opens: int) -> Path:
    """Write candles without trades, one for each minute."""
    path = files.place(CANDLES, T0)
    empty = dict.fromkeys(field.name for field in parquet.arrow_schema(CANDLES))
    rows = [{**empty, "market": "KRW-BTC", "open_ms": T0 + minute * 60_000} for minute in opens]
    table = parquet.library("pyarrow").Table.from_pylist(rows, parquet.arrow_schema(CANDLES))
    files.write(CANDLES, path, [table])
    return path


def footer_bytes(path: Path) -> range:
    """Return the places of a file's footer."""
    footer, size = manifest.read_footer(path)
    return range(size - 8 - len(footer), size - 8)


def flip(path: Path, place: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << bit
    path.write_bytes(data)


def test_every_wrong_bit_in_a_footer_is_noticed(files: Files) -> None:
    """No matter which; the file as it was written is sound."""
    path = put(files, 0, 1)
    parquet.check_footer(path)
    for place in footer_bytes(path):
        flip(path, place, place % 8)
        with pytest.raises(OSError, match="fails its checksum"):
            parquet.check_footer(path)
        flip(path, place, place % 8)
    parquet.check_footer(path)


def test_a_cut_file_is_noticed(files: Files) -> None:
    """It does not end as a Parquet file does."""
    path = put(files, 0)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OSError, match="does not end"):
        parquet.check_footer(path)


def test_a_writer_that_is_cut_off_leaves_a_sound_file(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the file is replaced it is the old one, afterwards the new one: the manifest names both."""
    path = put(files, 0)
    replace, settle = Path.replace, manifest.settle

    class CutOff(Exception):
        pass

    def cut(*_: object) -> None:
        raise CutOff

    monkeypatch.setattr(Path, "replace", lambda self, to: cut() if to == path else replace(self, to))
    with pytest.raises(CutOff):
        put(files, 0, 1)
    assert files.read(CANDLES, path).num_rows == 1
    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(manifest, "settle", cut)
    with pytest.raises(CutOff):
        put(files, 0, 1, 2)
    monkeypatch.setattr(manifest, "settle", settle)
    assert files.read(CANDLES, path).num_rows == 3
    put(files, 0, 1)
    assert len(manifest.expected(path)) == 1


def test_a_reader_that_looks_while_a_file_is_replaced_finds_no_damage(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest it has read is the one before: it looks again."""
    path = put(files, 0)
    before = manifest.expected(path)
    put(files, 0, 1)
    looks = iter([before])
    expected = manifest.expected
    monkeypatch.setattr(manifest, "expected", lambda path: next(looks, None) or expected(path))
    parquet.check_footer(path)


def test_files_that_are_gone_are_forgotten(files: Files) -> None:
    """A file of the same name from elsewhere is not compared with what is gone."""
    path = put(files, 0)
    path.unlink()
    manifest.prune(path.parent)
    assert manifest.expected(path) == []


def test_an_older_file_is_checked_by_the_checksum_in_its_footer(tmp_path: Path) -> None:
    """One that has none is believed."""
    path = tmp_path / "13.parquet"
    shutil.copy(OLD / path.name, path)
    parquet.check_footer(path)
    footer = manifest.read_footer(path).footer
    assert legacy.is_footer_sound(footer)
    assert legacy.is_footer_sound(b"no checksum here")
    place = footer_bytes(path)[len(footer) // 2]
    flip(path, place)
    with pytest.raises(OSError, match="fails its checksum"):
        parquet.check_footer(path)


def test_a_manifest_that_cannot_be_read_costs_only_the_check(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    """The files are there and whole."""
    path = put(files, 0)
    (path.parent / manifest.NAME).write_text("{")
    with caplog.at_level(logging.WARNING, "collector"):
        assert files.read(CANDLES, path).num_rows == 1
    assert "footers of its files are not checked" in caplog.text
    assert files.of_day(TRADES, files.days(CANDLES)[0]) == []
    assert [path.name for path in files.of_day(CANDLES, files.days(CANDLES)[0])] == [path.name]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    """Nothing is left beside it."""
    path = tmp_path / "x"
    with atomic_file.replacing(path) as new:
        new.write_text("first")
    with pytest.raises(FileNotFoundError), atomic_file.replacing(path):
        Path(tmp_path / "no such file").read_text()
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]
