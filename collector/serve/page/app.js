import { drawn, levels, pairs } from "./analysis.js";
import { Chart } from "./chart.js";
import { aligned, clock, cut, grouped, percent, short, sign } from "./format.js";
import { Live } from "./live.js";
import { TEXTS } from "./text.js";

const INTERVALS = ["1m", "3m", "5m", "15m", "30m", "1h", "4h", "1d"];
const TRADES_MAX = 60, LEVELS = 12, STALE_MS = 30_000, SPARK_MS = 5_000, SPARK_MIN = 4, SPARK_MAX = 40, BARS = 500;
const $ = (id) => document.getElementById(id);
const saved = (name, fallback) => { try { return localStorage.getItem(name) ?? fallback; } catch { return fallback; } };
const save = (name, value) => { try { localStorage.setItem(name, value); } catch { /* private window */ } };

const state = {
  market: new URLSearchParams(location.hash.slice(1)).get("market") ?? saved("market", ""),
  interval: saved("interval", "1m"), language: saved("language", navigator.language.startsWith("ko") ? "ko" : "en"),
  theme: saved("theme", matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"), colours: saved("colours", ""),
  sort: "value", isDown: true, tickers: new Map(), sparks: new Map(), trades: [], values: [], book: null, health: null,
  heardMs: Date.now(), isOpen: false, dirty: new Set(),
};
if (!state.colours) state.colours = state.language === "ko" ? "kr" : "west";
const text = (name, ...values) => values.reduce((all, value, place) => all.replace(`{${place}}`, value), TEXTS[state.language][name] ?? name);

async function get(path, query = {}) {
  const answer = await fetch(`v1/${path}?${new URLSearchParams(query)}`);
  if (answer.status === 401) { $("login").showModal(); throw new Error("token"); }
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error?.message ?? answer.statusText);
  return body;
}

const candlesOf = (more = {}) => get(`candles/${encodeURIComponent(state.market)}`, { interval: state.interval, limit: BARS, ...more });
const chart = new Chart($("chart"), (beforeMs) => candlesOf({ to: beforeMs - 1 }), legend);

function legend(candle) {
  if (!candle?.open) return void ($("legend").textContent = "");
  const parts = [[text("open_"), grouped(candle.open)], [text("high"), grouped(candle.high)], [text("low"), grouped(candle.low)],
    [text("close_"), grouped(candle.close)], [text("volume"), `${short(candle.base_volume, state.language)} (${text("buy")} ${short(candle.buy_volume ?? 0, state.language)})`],
    ["VWAP", grouped(cut(candle.vwap))], [text("count"), candle.trade_count]];
  $("legend").textContent = parts.map(([name, value]) => `${name} ${value}`).join("   ") + (candle.complete ? "" : `   ⚠ ${text("incomplete")}`);
}

let live;
async function choose(market, interval = state.interval) {
  if (!market) return;
  if (market !== state.market) { $("answer").replaceChildren(); chart.mark([]); }
  Object.assign(state, { market, interval, trades: [], values: [], book: null });
  save("market", market); save("interval", interval);
  history.replaceState(null, "", `#market=${market}`);
  live.want("market", ["trade", "orderbook", `candle.${interval}`, "gap"], [market]);
  for (const each of $("intervals").children) each.setAttribute("aria-pressed", each.textContent === interval);
  dirty("list", "head", "book", "tape");
  await load();
}

async function load() {
  const key = `${state.market} ${state.interval}`;
  try {
    const [candles, trades] = await Promise.all([candlesOf(), get(`trades/${encodeURIComponent(state.market)}`, { limit: TRADES_MAX })]);
    if (key !== `${state.market} ${state.interval}`) return;
    chart.show(key, candles);
    legend(chart.last());
    state.trades = trades.reverse();
    state.values = trades.map(value);
    dirty("tape");
  } catch (error) { if (error.message !== "token") notice(error.message); }
}

const value = (trade) => Number(trade.price) * Number(trade.volume);
const dirty = (...parts) => parts.forEach((part) => state.dirty.add(part));

function onEvent({ channel, market, data }) {
  if (channel !== "health") state.heardMs = Date.now(); // health comes from the server, also while the exchange is silent
  if (channel === "ticker") {
    state.tickers.set(market, data);
    const spark = state.sparks.get(market) ?? state.sparks.set(market, { at: 0, prices: [] }).get(market);
    if (Date.now() - spark.at >= SPARK_MS) { spark.at = Date.now(); spark.prices.push(Number(data.price)); spark.prices.splice(0, spark.prices.length - SPARK_MAX); }
    dirty("list", "head");
  } else if (channel === "health") { state.health = data; dirty("health");
  } else if (channel === "notice") { notice(text("noticeLost")); load();
  } else if (market !== state.market) { /* of the market before */
  } else if (channel === "trade") {
    state.trades.unshift(data); state.trades.length = Math.min(state.trades.length, TRADES_MAX);
    state.values.push(value(data)); state.values.splice(0, state.values.length - 500);
    dirty("tape");
  } else if (channel === "orderbook") { state.book = data; dirty("book");
  } else if (channel === "gap") { load();
  } else if (channel === `candle.${state.interval}` && chart.key === `${market} ${state.interval}`) {
    chart.update(data);
    if (data.open_ms === chart.last().open_ms) legend(data);
  }
}

function onState(how, isBack) {
  state.isOpen = how === "open";
  if (isBack) { state.heardMs = Date.now(); if (state.market) load(); }
  dirty("health");
}

// -- what is drawn, at most a few times a second

function cell(row, content, name = "") { const td = row.insertCell(); td.textContent = content; td.className = name; return td; }

const KEYS = { market: (it) => it.market, price: (it) => Number(it.price), change: (it) => Number(it.change_rate ?? 0), value: (it) => Number(it.quote_volume_24h ?? 0) };
function shown() {
  const wanted = $("search").value.trim().toUpperCase();
  const found = [...state.tickers.values()].filter((it) => it.market.includes(wanted));
  const key = KEYS[state.sort];
  found.sort((one, other) => (key(one) < key(other) ? -1 : key(one) > key(other) ? 1 : 0) * (state.isDown ? -1 : 1));
  return found;
}

const drawings = {
  list() {
    const body = document.createElement("tbody");
    body.id = "rows";
    for (const it of shown()) {
      const row = body.insertRow();
      row.dataset.market = it.market;
      row.setAttribute("aria-selected", it.market === state.market);
      cell(row, it.market);
      const prices = state.sparks.get(it.market)?.prices ?? [];
      const spark = cell(row, "", sign(prices.at(-1) - prices[0]));
      if (prices.length >= SPARK_MIN) {
        const [low, high] = [Math.min(...prices), Math.max(...prices)];
        const points = prices.map((each, place) => `${(place * 44) / (prices.length - 1)},${high > low ? 15 - (14 * (each - low)) / (high - low) : 8}`);
        spark.innerHTML = `<svg viewBox="0 0 44 16" aria-hidden="true"><polyline points="${points.join(" ")}"/></svg>`;
      }
      cell(row, grouped(it.price));
      cell(row, percent(it.change_rate), sign(it.change_rate));
      cell(row, short(it.quote_volume_24h, state.language), "dim");
    }
    $("rows").replaceWith(body);
    document.querySelectorAll("th").forEach((th) => {
      const isSorted = th.firstChild?.dataset?.sort === state.sort;
      isSorted ? th.setAttribute("aria-sort", state.isDown ? "descending" : "ascending") : th.removeAttribute("aria-sort");
    });
  },
  head() {
    const it = state.tickers.get(state.market);
    $("market").textContent = state.market || "Bithumb";
    $("price").textContent = it ? grouped(it.price) : "";
    $("change").textContent = it ? percent(it.change_rate) : "";
    $("price").className = $("change").className = `number ${sign(it?.change_rate ?? 0)}`;
    document.title = it ? `${grouped(it.price)} ${state.market}` : "Bithumb collector";
  },
  book() {
    const { book } = state;
    for (const part of ["asks", "middle", "bids"]) $(part).replaceChildren();
    if (!book) return;
    const most = Math.max(...[...book.asks, ...book.bids].slice(0, 60).map(([, size]) => Number(size)));
    const [asks, bids] = [book.asks.slice(0, LEVELS).reverse(), book.bids.slice(0, LEVELS)];
    const sizes = aligned([...asks, ...bids].map(([, size]) => size));
    const rows = (part, ladder, name) => ladder.forEach(([price, size]) => {
      const row = $(part).insertRow();
      cell(row, grouped(price), name);
      cell(row, sizes.shift(), `size ${name}`).style.setProperty("--share", (100 * Number(size)) / most);
    });
    rows("asks", asks, "down");
    rows("bids", bids, "up");
    const middle = cell($("middle").insertRow(), `${text("spread")} ${grouped(book.spread)} (${Number(book.spread_bps).toFixed(2)} bp)`);
    middle.colSpan = 2;
  },
  tape() {
    const sorted = [...state.values].sort((one, other) => one - other);
    const big = sorted[Math.floor(sorted.length * 0.97)] ?? Infinity;
    $("trades").replaceChildren();
    for (const trade of state.trades) {
      const row = $("trades").insertRow();
      if (value(trade) > big && sorted.length > 20) row.className = "big";
      cell(row, clock(trade.exchange_ms) + (trade.late ? ` ${text("late")}` : ""), "dim");
      cell(row, grouped(trade.price), trade.side === "buy" ? "up" : "down");
      cell(row, grouped(trade.volume));
    }
  },
  health() {
    const [name, word] = verdict();
    $("health").className = `pill ${name}`;
    $("health").textContent = word;
    const isStale = Date.now() - state.heardMs > STALE_MS;
    if (!state.isOpen && live) notice(text("noticeGone"), true);
    else if (isStale) notice(text("noticeStale", clock(state.heardMs)), true);
    else if (sticky) notice("");
  },
};

function verdict() {
  if (!state.isOpen) return ["bad", text("gone")];
  const proof = state.health?.proof;
  if (Date.now() - state.heardMs > STALE_MS || proof?.outages?.length) return ["bad", text("stale")];
  if (!proof) return ["open", "…"];
  if (proof.open_gaps) return ["open", `${text("open")}: ${proof.open_gaps}`];
  return proof.proven_until_ms ? ["good", `${text("good")} ${clock(proof.proven_until_ms)}`] : ["open", text("unproven")];
}

let sticky = false, noticeTimer = 0;
function notice(message, stays = false) {
  sticky = stays;
  $("notice").hidden = !message;
  if ($("notice").textContent !== message) $("notice").textContent = message;
  clearTimeout(noticeTimer);
  if (message && !stays) noticeTimer = setTimeout(() => notice(""), 8000);
}

setInterval(() => {
  if (document.hidden) return;
  dirty("health");
  for (const part of state.dirty) drawings[part]();
  state.dirty.clear();
}, 400);

// -- words, colours, keys

function dress() {
  const root = document.documentElement;
  root.lang = state.language;
  root.className = `${state.theme} ${state.colours}`;
  document.querySelectorAll("[data-text]").forEach((it) => (it.textContent = text(it.dataset.text)));
  document.querySelectorAll("[data-title]").forEach((it) => (it.title = text(it.dataset.title)));
  document.querySelectorAll("[data-placeholder]").forEach((it) => (it.placeholder = text(it.dataset.placeholder)));
  document.querySelectorAll("[data-label]").forEach((it) => it.setAttribute("aria-label", text(it.dataset.label)));
  $("language").textContent = state.language === "ko" ? "English" : "한국어";
  chart.paint();
  dirty("list", "head", "book", "tape", "health");
}
const turn = (name, values) => () => { state[name] = values[(values.indexOf(state[name]) + 1) % values.length]; save(name, state[name]); dress(); };
const turns = { language: turn("language", ["en", "ko"]), theme: turn("theme", ["light", "dark"]), colours: turn("colours", ["kr", "west"]) };
for (const [id, act] of Object.entries(turns)) $(id).onclick = act;

function show(name, rows) {
  $("dialog-name").textContent = name;
  $("details").replaceChildren(pairs(rows));
  $("dialog").showModal();
}
const help = () => show(text("keys"), TEXTS[state.language].keyList);
const health = () => {
  const it = state.health;
  if (!it) return;
  const queues = Object.entries(it.queues).filter(([name, count]) => count && name !== "dead-letters").map(([name, count]) => `${name} ${count}`);
  show(verdict()[1], [[text("provenUntil"), clock(it.proof?.proven_until_ms)], [text("openGaps"), it.proof?.open_gaps ?? "–"],
    [text("recovered"), it.proof?.recovered_trades ?? "–"], [text("listeners"), it.listeners.map((each) => each.state).join(", ") || "–"],
    [text("queues"), queues.join(", ") || "0"], [text("deadLetters"), it.queues["dead-letters"] ?? 0],
    ...(it.proof?.outages ?? []).map((each) => [each.reason, `${each.markets}`])]);
};
$("help").onclick = help;
$("health").onclick = health;

$("intervals").append(...INTERVALS.map((name) => Object.assign(document.createElement("button"), { textContent: name, onclick: () => choose(state.market, name) })));
$("list").addEventListener("click", ({ target }) => {
  const { sort } = target.dataset;
  if (sort) { state.isDown = sort === state.sort ? !state.isDown : sort !== "market"; state.sort = sort; dirty("list"); }
  const row = target.closest("tr[data-market]");
  if (row) choose(row.dataset.market);
});
$("search").oninput = () => dirty("list");
$("search").onkeydown = ({ key }) => { if (key === "Enter") choose(shown()[0]?.market); if (key === "Escape" || key === "Enter") $("search").blur(); };
document.addEventListener("keydown", (event) => {
  if (event.target.matches?.("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const act = { "/": () => $("search").focus(), "?": help, h: health, t: turns.theme, l: turns.language, k: turns.colours }[event.key];
  if (step) { const names = shown().map((it) => it.market); choose(names[(names.indexOf(state.market) + step + names.length) % names.length]); }
  else if (act) act();
  else if (INTERVALS[event.key - 1]) choose(state.market, INTERVALS[event.key - 1]);
  else return;
  event.preventDefault();
});
$("analysis").onsubmit = async (event) => {
  event.preventDefault();
  const name = $("name").value;
  const body = { market: state.market, ...(name === "slippage" ? {} : { window: "15m" }) };
  $("answer").textContent = "…";
  try {
    const answer = await fetch(`v1/analyses/${name}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error.message);
    $("answer").replaceChildren(...drawn(name, found, text));
    if (found.market === state.market) chart.mark(levels(name, found, text));
  } catch (error) { $("answer").textContent = error.message; }
};
$("token-form").onsubmit = async (event) => {
  event.preventDefault();
  const answer = await fetch("v1/session", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token: $("token").value }) });
  if (answer.ok) location.reload();
};

dress();
get("info").then(() => {
  live = new Live(onEvent, onState);
  live.want("all", ["ticker", "health"], []);
  return get("tickers");
}).then((tickers) => {
  for (const it of tickers) state.tickers.set(it.market, it);
  choose(state.market || (state.tickers.has("KRW-BTC") ? "KRW-BTC" : shown()[0]?.market));
}).catch((error) => error.message !== "token" && notice(error.message, true));
