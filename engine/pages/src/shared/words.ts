/** Times and distances in words. Instants are epoch milliseconds. */

const MINUTE_S = 60;
const HOUR_S = 3600;
const DAY_S = 86_400;

/** “40 s”, “5 min”, “2 h 10 min”, “3 d”. */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < MINUTE_S) return `${s} s`;
  if (s < HOUR_S) return `${Math.round(s / MINUTE_S)} min`;
  if (s < DAY_S) {
    const minutes = Math.round(s / MINUTE_S);
    const rest = minutes % 60;
    return rest ? `${Math.floor(minutes / 60)} h ${rest} min` : `${Math.floor(minutes / 60)} h`;
  }
  return `${Math.round(s / DAY_S)} d`;
}

/** “just now”, “5 min ago”. */
export function ago(atMs: number, nowMs: number): string {
  const s = (nowMs - atMs) / 1000;
  return s < 5 ? "just now" : `${duration(s)} ago`;
}

/** “now”, “in 5 min”, “5 min late”. */
export function until(atMs: number, nowMs: number): string {
  const s = (atMs - nowMs) / 1000;
  if (Math.abs(s) < 30) return "now";
  return s > 0 ? `in ${duration(s)}` : `${duration(-s)} late`;
}

/** The time of day in a zone (by default this device's), with the day unless it is today. */
export function clock(atMs: number, nowMs: number, timeZone?: string): string {
  const zone = timeZone ? { timeZone } : {};
  const time = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit", ...zone });
  const day = new Intl.DateTimeFormat("en-CA", { dateStyle: "short", ...zone });
  if (day.format(atMs) === day.format(nowMs)) return time.format(atMs);
  const weekday = new Intl.DateTimeFormat(undefined, { weekday: "short", ...zone });
  return `${weekday.format(atMs)} ${time.format(atMs)}`;
}

/** “80 m”, “1.2 km”, “14 km”. */
export function distance(metres: number): string {
  if (metres < 995) return `${Math.round(metres / 10) * 10} m`;
  const km = metres / 1000;
  return km < 9.95 ? `${km.toFixed(1)} km` : `${Math.round(km)} km`;
}

/** “1 parcel”, “3 parcels”. */
export function count(n: number, one: string, many = `${one}s`): string {
  return `${n} ${n === 1 ? one : many}`;
}

/** A state, reason or kind of the contract, as words: “picked_up” → “Picked up”. */
export function named(word: string): string {
  const text = word.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A place known by its id alone: “chandler-fashion-center” → “Chandler Fashion Center”. */
export function placeName(id: string): string {
  return id.replace(/(^|[-_])(.)/g, (_, gap: string, first: string) => (gap ? " " : "") + first.toUpperCase());
}

/** Minor units of a currency, such as 1150 USD, in the reader's notation. */
export function money(minor: number, currency: string): string {
  const format = new Intl.NumberFormat(undefined, { style: "currency", currency });
  const digits = format.resolvedOptions().maximumFractionDigits ?? 2;
  return format.format(minor / 10 ** digits);
}
