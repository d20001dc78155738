// The answer of an analysis as something to look at: bars of a profile, shares of buyers, tables.
import { clock, cut, grouped, percent } from "./format.js";

const make = (tag, name = "", content = "") => Object.assign(document.createElement(tag), { className: name, textContent: content });
const bounds = (from, to) => `${grouped(from)} – ${grouped(to)}`;
/** Text of a decimal of ours: grouped, and cut where it is a quotient without an end. */
const figure = (text) => grouped(/\.\d{9,}$/.test(text) ? cut(text) : text);

/** Pairs of name and figure. */
export function pairs(rows) {
  const list = make("dl");
  for (const [name, content] of rows) {
    const row = make("div");
    row.append(make("dt", "", name), make("dd", "", content));
    list.append(row);
  }
  return list;
}

function table(heads, rows) {
  const whole = make("table", "answer");
  const head = whole.createTHead().insertRow();
  for (const name of heads) head.append(make("th", "", name));
  const body = whole.createTBody();
  for (const cells of rows) {
    const row = body.insertRow();
    for (const [content, name = ""] of cells) row.append(make("td", name, content));
  }
  return whole;
}

/** A bar of two parts, bought and sold, in shares of `most`. */
function split(bought, sold, most) {
  const bar = make("div", "split");
  for (const [part, name] of [[bought, "up"], [sold, "down"]]) {
    const piece = make("span", name);
    piece.style.width = `${most > 0 ? (100 * part) / most : 0}%`;
    bar.append(piece);
  }
  return bar;
}

const kinds = {
  volume_profile(it, text) {
    const rows = [...it.rows].reverse();
    const most = Math.max(...rows.map((row) => Number(row.base_volume)));
    const whole = make("table", "answer profile");
    for (const row of rows) {
      const line = whole.insertRow();
      line.className = row.from_price === it.point_of_control_from ? "poc" : row.value_area ? "area" : "";
      line.append(make("td", "", grouped(row.from_price)));
      line.insertCell().append(split(Number(row.buy_volume), Number(row.sell_volume), most));
      line.append(make("td", "", grouped(row.base_volume)));
    }
    return [
      pairs([
        [text("poc"), bounds(it.point_of_control_from, it.point_of_control_to)],
        [`${text("valueArea")} (${percent(it.value_area_share, false)})`, bounds(it.value_area_from, it.value_area_to)],
        [text("volume"), grouped(it.base_volume)],
      ]),
      whole,
    ];
  },
  imbalance(it, text) {
    const [bought, sold] = [Number(it.buy_volume), Number(it.sell_volume)];
    const share = (part) => percent(bought + sold > 0 ? part / (bought + sold) : null, false);
    return [
      split(bought, sold, bought + sold),
      pairs([
        [`${text("bought")} (${share(bought)})`, grouped(it.buy_volume)],
        [`${text("sold")} (${share(sold)})`, grouped(it.sell_volume)],
        [text("imbalance"), it.imbalance === null ? "–" : figure(it.imbalance)],
      ]),
    ];
  },
  slippage(it, text) {
    const heads = ["side", "size", "average", "worst", "levels", "slippage"].map(text);
    return [
      table(heads, it.orders.map((order) => [
        [text(order.side), order.side === "buy" ? "up" : "down"],
        [grouped(order.filled)],
        [order.average_price === null ? "–" : figure(order.average_price)],
        [grouped(order.worst_price)],
        [order.levels],
        [order.slippage_bps === null ? "–" : `${Number(order.slippage_bps).toFixed(2)} bp`],
      ])),
    ];
  },
  large_trades(it, text) {
    const heads = ["time", "price", "volume", "turnover", "score"].map(text);
    return [
      table(heads, [...it.trades].reverse().map((trade) => [
        [clock(trade.exchange_ms), "dim"],
        [grouped(trade.price), trade.side === "buy" ? "up" : "down"],
        [grouped(trade.volume)],
        [grouped(cut(trade.value))],
        [Number(trade.z_score).toFixed(1)],
      ])),
    ];
  },
  vwap(it, text) {
    return [
      pairs([
        ["VWAP", figure(it.vwap)], [text("volume"), grouped(it.base_volume)],
        [text("turnover"), grouped(cut(it.quote_volume))], [text("count"), it.trade_count],
      ]),
    ];
  },
};

/** Elements that show an answer; `text(name)` is the word in the reader's language. */
export function drawn(name, answer, text) {
  const parts = [];
  if (answer.from_ms) {
    const stretch = `${clock(answer.since_ms ?? answer.from_ms)} – ${clock(answer.to_ms)}`;
    parts.push(make("p", "dim", answer.complete === false ? `${stretch}   ⚠ ${text("incomplete")}` : stretch));
  }
  return [...parts, ...kinds[name](answer, text)];
}

/** Prices of an answer that belong into the chart: pairs of name and price. */
export function levels(name, answer, text) {
  if (name === "vwap") return [["VWAP", Number(answer.vwap)]];
  if (name !== "volume_profile") return [];
  const middle = (Number(answer.point_of_control_from) + Number(answer.point_of_control_to)) / 2;
  return [[text("poc"), middle], ["VAH", Number(answer.value_area_to)], ["VAL", Number(answer.value_area_from)]];
}
