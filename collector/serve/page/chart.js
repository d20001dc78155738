// Candles, volume by side, VWAP and stretches in which trades may be missing.
import { KST_S, places } from "./format.js";

/** Bars that scrolling back may load, and those that stay while the newest are looked at. */
const BARS_MAX = 6000, BARS_KEPT = 1000;
const VWAP = "#b97700";
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const time = (candle) => candle.open_ms / 1000 + KST_S;

export class Chart {
  #candles = new Map(); #last; #isLoading = false; #isAtStart = false; #colours = {}; #lines = [];

  /** loadOlder(beforeMs) resolves to older candles; onCross(candle) is called with what the pointer is on. */
  constructor(element, loadOlder, onCross) {
    const L = window.LightweightCharts;
    this.chart = L.createChart(element, { autoSize: true, timeScale: { timeVisible: true, secondsVisible: false, rightOffset: 4 },
      localization: { locale: "ko-KR" }, crosshair: { mode: 0 }, layout: { attributionLogo: true } });
    this.bars = this.chart.addSeries(L.CandlestickSeries, { priceLineVisible: true });
    this.bars.priceScale().applyOptions({ scaleMargins: { top: 0.06, bottom: 0.22 } });
    this.vwap = this.chart.addSeries(L.LineSeries, { lineWidth: 1, lineStyle: 2, priceLineVisible: false,
      lastValueVisible: false, crosshairMarkerVisible: false });
    const volume = { priceScaleId: "volume", priceLineVisible: false, lastValueVisible: false, priceFormat: { type: "volume" } };
    this.sold = this.chart.addSeries(L.HistogramSeries, volume);
    this.bought = this.chart.addSeries(L.HistogramSeries, volume);
    this.missing = this.chart.addSeries(L.HistogramSeries, { priceScaleId: "missing", priceLineVisible: false, lastValueVisible: false });
    this.chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    this.chart.priceScale("missing").applyOptions({ scaleMargins: { top: 0, bottom: 0 }, visible: false });
    this.chart.timeScale().subscribeVisibleLogicalRangeChange(async (range) => {
      if (!range || range.from > 10 || this.#isLoading || this.#isAtStart || !this.#candles.size) return;
      this.#isLoading = true;
      const key = this.key;
      const older = await loadOlder(this.first().open_ms).catch(() => []);
      if (key === this.key) {
        this.#isAtStart = !older.length || this.#candles.size > BARS_MAX;
        if (!this.#isAtStart) this.#add(older);
      }
      this.#isLoading = false;
    });
    this.chart.subscribeCrosshairMove(({ time: at }) => onCross(at ? this.#candles.get((at - KST_S) * 1000) : this.last()));
  }

  first() { return this.#candles.values().next().value; }
  last() { return this.#last; }

  /** Show other candles; `key` names market and interval. The same key again corrects bars and leaves the view where it is. */
  show(key, candles) {
    if (key === this.key && this.#candles.size && candles.length && candles[0].open_ms <= this.last().open_ms) return this.#add(candles);
    this.key = key;
    this.#candles = new Map();
    this.#last = undefined;
    this.#isAtStart = false;
    const step = Math.max(0, ...candles.slice(-50).flatMap((each) => [each.open, each.close]).filter(Boolean).map(places));
    const words = { minimumFractionDigits: step, maximumFractionDigits: step };
    this.bars.applyOptions({ priceFormat: { type: "custom", minMove: 10 ** -step, formatter: (price) => price.toLocaleString("en", words) } });
    this.#add(candles);
    this.chart.timeScale().setVisibleLogicalRange({ from: Math.max(candles.length - 120, -20), to: candles.length + 4 });
  }

  /** Take a candle that is new or has changed; an older one is put right where it stands. */
  update(candle) {
    const isOlder = this.#last && candle.open_ms < this.#last.open_ms;
    if (isOlder && !this.#candles.has(candle.open_ms)) return this.#add([candle]);
    this.#candles.set(candle.open_ms, candle);
    if (!isOlder) this.#last = candle;
    for (const [series, row] of this.#rows(candle)) series.update(row, isOlder);
    if (!isOlder) this.#trim();
  }

  /** Show lines at prices: pairs of name and price; they replace those before. */
  mark(levels) {
    for (const line of this.#lines) this.bars.removePriceLine(line);
    this.#lines = levels.map(([title, price]) => this.bars.createPriceLine({ title, price, color: VWAP, lineWidth: 1, lineStyle: 0 }));
  }

  /** Let go of old bars, so that a page that stays open does not grow; whoever looks at them keeps them. */
  #trim() {
    const surplus = this.#candles.size - BARS_KEPT;
    if (surplus < BARS_KEPT / 2) return;
    const view = this.chart.timeScale().getVisibleLogicalRange();
    if (!view || view.from < surplus) return;
    this.#candles = new Map([...this.#candles].slice(surplus));
    this.#isAtStart = false;
    this.#draw(); // the view keeps its distance from the newest bar
  }

  paint() {
    const [up, down, ink, line, paper] = ["--up", "--down", "--dim", "--line", "--paper"].map(colour);
    this.#colours = { up, down };
    this.chart.applyOptions({ layout: { textColor: ink, background: { color: paper } },
      grid: { vertLines: { color: line }, horzLines: { color: line } }, rightPriceScale: { borderColor: line }, timeScale: { borderColor: line } });
    this.bars.applyOptions({ upColor: up, downColor: down, borderVisible: false, wickUpColor: up, wickDownColor: down });
    this.vwap.applyOptions({ color: VWAP });
    this.#draw();
  }

  #add(candles) {
    const all = [...this.#candles.values(), ...candles].sort((one, other) => one.open_ms - other.open_ms);
    this.#candles = new Map(all.map((each) => [each.open_ms, each]));
    this.#last = all.at(-1);
    this.#draw();
  }

  #draw() {
    const rows = new Map([this.bars, this.vwap, this.sold, this.bought, this.missing].map((series) => [series, []]));
    for (const candle of this.#candles.values()) for (const [series, row] of this.#rows(candle)) rows.get(series).push(row);
    for (const [series, found] of rows) series.setData(found);
  }

  #rows(candle) {
    const at = time(candle);
    const blank = { time: at };
    const has = candle.open !== null;
    const { up, down } = this.#colours;
    return [
      [this.bars, has ? { time: at, open: +candle.open, high: +candle.high, low: +candle.low, close: +candle.close } : blank],
      [this.vwap, candle.vwap === null ? blank : { time: at, value: +candle.vwap }],
      [this.sold, has ? { time: at, value: +candle.base_volume, color: `${down}88` } : blank],
      [this.bought, has ? { time: at, value: +(candle.buy_volume ?? 0), color: `${up}aa` } : blank],
      [this.missing, candle.complete ? blank : { time: at, value: 1, color: `${VWAP}33` }],
    ];
  }
}
