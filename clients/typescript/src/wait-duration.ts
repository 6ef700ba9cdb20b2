/** Lengths and instants of waits (DUR-G6, WAI-1, WAI-2). */

const UNIT_MS = {
  seconds: 1_000,
  minutes: 60_000,
  hours: 3_600_000,
  days: 86_400_000,
  weeks: 604_800_000,
  months: 30 * 86_400_000,
  years: 365 * 86_400_000,
} as const;

type Unit = keyof typeof UNIT_MS;

/** Exactly one of these; fractions are allowed. A month has 30 days, a year 365. */
export type WaitDuration = {
  [U in Unit]: { readonly [K in U]: number } & { readonly [K in Exclude<Unit, U>]?: never };
}[Unit];

const UNITS = ["seconds", "minutes", "hours", "days", "weeks", "months", "years"] as const satisfies readonly Unit[];

/** @throws TypeError for none or several units, and for anything but a finite number. */
export function waitMs(duration: unknown): number {
  const given: Readonly<Partial<Record<Unit, unknown>>> =
    typeof duration === "object" && duration !== null ? duration : {};
  const units = UNITS.filter((unit) => given[unit] !== undefined);
  const [unit] = units;
  const value = unit === undefined ? undefined : given[unit];
  if (unit === undefined || units.length > 1) {
    throw new TypeError(
      `wait.for takes exactly one of ${UNITS.join(", ")}; got ${units.length === 0 ? "none" : units.join(", ")}`,
    );
  }
  if (typeof value !== "number" || !Number.isFinite(value)) {
    throw new TypeError(`wait.for: ${unit} must be a finite number, got ${String(value)}`);
  }
  return Math.ceil(value * UNIT_MS[unit]);
}

/** @throws TypeError for an invalid date. */
export function dateMs(date: unknown): number {
  const ms = date instanceof Date ? date.getTime() : Number.NaN;
  if (Number.isNaN(ms)) throw new TypeError(`wait.until needs a valid Date, got ${String(date)}`);
  return ms;
}
