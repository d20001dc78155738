"""`collector export --for`: candles, trades and books in the forms of backtesting libraries."""

from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

from collector.analytics.candles import interval_ms
from collector.archive import backtests, library
from collector.archive.backtests import Fill
from collector.cli.export import markets_of, whole_file
from collector.cli.lookback import open_history
from collector.cli.progress import progress
from collector.cli.render import output
from collector.errors import ConfigurationError, NoData
from collector.settings import Settings
from collector.store.rows import to_json


class Form(NamedTuple):
    """What a library reads.

    Attributes:
        kind: of rows.
        file: a file's name from market and interval, in a folder that has several.
        write: an Arrow table, or events, into a file.
    """

    kind: str
    file: Callable[[str, str], str]
    write: Callable[[Any, IO[bytes]], None]


def export_for(
    settings: Settings,
    reader: str,
    kind: str,
    market: str,
    out: Path,
    from_ms: int | None,
    to_ms: int | None,
    *,
    interval: str = "1m",
    fill: str = Fill.ABSENT,
    as_json: bool = False,
) -> int:
    """Write one file, or one for each market into a folder, and print their names; return the exit code.

    Args:
        reader: one of `FORMS`.
        out: a file with the suffix of the form for one market; for several, or without a suffix, a folder.

    Raises:
        ConfigurationError: no such form, another kind of rows, or it can't be written.
        NoData: an unknown market, or nothing in that stretch.
        BrokerUnavailable: neither Redis nor an archive.
    """
    form = FORMS.get(reader)
    if form is None:
        raise ConfigurationError(f"--for {reader!r} is unknown: one of {', '.join(FORMS)}")
    if kind != form.kind:
        raise ConfigurationError(f"{reader} reads {form.kind}: collector export {form.kind} … --for {reader}")
    if fill not in list(Fill):
        raise ConfigurationError(f"--fill {fill!r} is unknown: one of {', '.join(Fill)}")
    length_ms = interval_ms(interval)
    written: list[dict[str, object]] = []
    with open_history(settings, from_ms, to_ms, time_zone="UTC") as session:
        markets = markets_of(settings, session, market)
        with progress(f"{kind} for {reader}", len(markets)) as step:
            for code in markets:
                path = _path(out, form, code, interval, alone=len(markets) == 1)
                if form.kind == "trades":
                    rows = backtests.hftbacktest(session, code, from_ms, to_ms)
                else:
                    rows = backtests.ohlcv(session, code, length_ms, from_ms, to_ms, fill=Fill(fill))
                if len(rows):
                    with whole_file(path) as file:
                        form.write(rows, file)
                    written.append({"file": str(path), "market": code, "rows": len(rows)})
                step(1)
    if not written:
        raise NoData(f"nothing to export: no {kind} of {', '.join(markets)} in that stretch")
    if as_json:
        output.write(to_json(written))
    else:
        output.write("\n".join(f"{row['file']}: {row['rows']:,} rows of {row['market']}" for row in written))
    return 0


def _path(out: Path, form: Form, market: str, interval: str, *, alone: bool) -> Path:
    name = form.file(market, interval)
    if out.suffix:
        if out.suffix != Path(name).suffix:
            raise ConfigurationError(f"{out} is no {Path(name).suffix} file: choose another --out")
        if not alone:
            raise ConfigurationError(f"several markets need a folder: --out {out.with_suffix('')}")
        return out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{out} can't be made ({error.strerror or error})") from error
    return out / name


def _csv(rows: Any, file: IO[bytes]) -> None:  # noqa: ANN401 - an Arrow table
    """`time,Open,High,Low,Close,Volume`: the names that backtesting.py and vectorbt expect."""
    named = rows.rename_columns(["time", "Open", "High", "Low", "Close", "Volume"])
    library("polars").from_arrow(named).write_csv(file, datetime_format="%Y-%m-%d %H:%M:%S%:z")


def _feather(rows: Any, file: IO[bytes]) -> None:  # noqa: ANN401 - an Arrow table
    """`date,open,high,low,close,volume`, as freqtrade keeps its candles."""
    pa = library("pyarrow")
    dates = rows.column("time").cast(pa.timestamp("ms", "UTC"))
    dated = rows.set_column(0, "date", dates)
    library("pyarrow.feather").write_feather(dated, file, compression="lz4")


def _npz(events: Any, file: IO[bytes]) -> None:  # noqa: ANN401 - a NumPy array
    library("numpy").savez_compressed(file, data=events)


def _freqtrade_name(market: str, interval: str) -> str:
    quote, base = market.split("-", 1)
    return f"{base}_{quote}-{interval}.feather"


FORMS = {
    "backtesting": Form("candles", "{}-{}.csv".format, _csv),
    "freqtrade": Form("candles", _freqtrade_name, _feather),
    "hftbacktest": Form("trades", lambda market, _: f"{market}.npz", _npz),
}
