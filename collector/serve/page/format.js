// Decimals are text from the server to the screen: no digit is lost. Only the chart uses numbers.
export const KST_S = 32400;

/** 1234567.89 -> 1,234,567.89 */
export function grouped(text) {
  if (text === null || text === undefined) return "–";
  const [whole, part] = String(text).split(".");
  const kept = part?.replace(/0+$/, "");
  return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (kept ? `.${kept}` : "");
}

/** Decimal text cut after so many digits that count; a whole number keeps all of its digits. */
export function cut(text, digits = 9) {
  const [whole, part = ""] = String(text).split(".");
  const leading = /^-?0*$/.test(whole) ? part.match(/^0*/)[0].length : 0;
  const kept = part.slice(0, leading + Math.max(0, digits - whole.replace(/^-?0*/, "").length));
  return kept ? `${whole}.${kept}` : whole;
}

/** 1234567890 -> 1.23B, in Korean 12.3억 */
export function short(text, language) {
  const number = Number(text);
  const steps = language === "ko" ? [[1e12, "조"], [1e8, "억"], [1e4, "만"]] : [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"]];
  for (const [size, word] of steps) if (Math.abs(number) >= size) return (number / size).toPrecision(3) + word;
  return Number.isFinite(number) ? String(Number(number.toPrecision(4))) : "–";
}

/** 0.0123 -> +1.23 %; a share has no sign. */
export function percent(text, isSigned = true) {
  if (text === null || text === undefined) return "–";
  const shown = (Number(text) * 100).toFixed(2);
  return `${isSigned && Number(shown) > 0 ? "+" : ""}${Number(shown) === 0 ? "0.00" : shown} %`;
}

/** Decimal texts padded to the same number of places, as in a ladder of sizes. */
export function aligned(texts) {
  const most = Math.max(0, ...texts.map(places));
  return texts.map((text) => {
    const [whole, part = ""] = grouped(text).split(".");
    return most ? `${whole}.${part.padEnd(most, "0")}` : whole;
  });
}

export const sign = (text) => (Number(text) > 0 ? "up" : Number(text) < 0 ? "down" : "dim");

const clocks = new Intl.DateTimeFormat("en-GB", { timeZone: "Asia/Seoul", hour: "2-digit", minute: "2-digit", second: "2-digit" });
export const clock = (ms) => (ms ? clocks.format(ms) : "–");

/** Decimal places of a price. */
export const places = (text) => (String(text).split(".")[1]?.replace(/0+$/, "") ?? "").length;
