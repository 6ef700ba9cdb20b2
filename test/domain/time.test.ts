/** Durations, delays, ttl, maxDuration: how time is written, and what it comes to. */
import test from "ava";
import * as fc from "fast-check";
import { delayViolation, parseDateTime, parseDelay, parseReschedule } from "../../server/domain/delay.js";
import { formatSeconds, parseDuration } from "../../server/domain/duration.js";
import { CENTURY_MS } from "../../server/domain/limits.js";
import { isMaxDuration, MAX_DURATION_NONE, resolveMaxDuration } from "../../server/domain/max-duration.js";
import { parseTtl, resolveTtl, ttlViolation } from "../../server/domain/ttl.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const NOW = Date.UTC(2025, 5, 15, 12, 0, 0);

/** Every sensible table row is a promise of its own; one title each would say the same thing forty times. */
const DURATIONS: readonly (readonly [string, number])[] = [
  ["1s", SECOND],
  ["0s", 0],
  ["88s", 88 * SECOND],
  ["15m", 15 * MINUTE],
  ["1h", HOUR],
  ["24hr", DAY],
  ["1d", DAY],
  ["1w", 7 * DAY],
  ["1h52m18s", HOUR + 52 * MINUTE + 18 * SECOND],
  ["18s1h", HOUR + 18 * SECOND],
  ["1w1d1h1m1s", 8 * DAY + HOUR + MINUTE + SECOND],
  ["007m", 7 * MINUTE],
  ["36500d", CENTURY_MS],
];

const NO_DURATIONS: readonly string[] = [
  "",
  " ",
  "10",
  "h",
  "1",
  "1H",
  "1 h",
  " 1h",
  "1h ",
  "1h 2m",
  "-1h",
  "+1h",
  "1.5h",
  "1,5h",
  "10ms",
  "1y",
  "1mo",
  "1M",
  "1hours",
  "1h2",
  "1h2h",
  "1h2hr",
  "1hr1h",
  "1s1m1s",
  "٣s",
  "1e3s",
  "0x1s",
  "1h\n",
  "P1D",
];

test("DUR-G1, DUR-G2, DUR-G3: durations are groups of integer and unit, in any order", (t) => {
  for (const [text, ms] of DURATIONS) {
    t.is(parseDuration(text), ms, text);
  }
});

test("DUR-G1, DUR-G2: signs, decimals, spaces, other units, bare numbers and repeated units are no durations", (t) => {
  for (const text of NO_DURATIONS) {
    t.is(parseDuration(text), undefined, JSON.stringify(text));
  }
});

test("DUR-G1: 100 characters are read, 101 are not", (t) => {
  t.is(parseDuration(`${"0".repeat(98)}1s`), SECOND);
  t.is(parseDuration(`${"0".repeat(99)}1s`), undefined);
});

test("DUR-G8: 100 years pass, a second more does not, and no digits overflow", (t) => {
  t.is(parseDuration("36500d1s"), undefined);
  t.is(parseDuration("5214w2d"), CENTURY_MS);
  t.is(parseDuration(`${"9".repeat(99)}w`), undefined);
  t.is(parseDuration("2h", HOUR), undefined);
  t.is(parseDuration("1h", HOUR), HOUR);
});

test("TTL-1: seconds are written with units, largest first, zero parts left out", (t) => {
  t.is(formatSeconds(5_400), "1h30m");
  t.is(formatSeconds(3_600), "1h");
  t.is(formatSeconds(0), "0s");
  t.is(formatSeconds(694_861), "1w1d1h1m1s");
  t.is(formatSeconds(604_801), "1w1s");
});

test("TTL-1, DUR-G1: what is written reads back as the same time", (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: CENTURY_MS / SECOND }), (seconds) => {
      t.is(parseDuration(formatSeconds(seconds)), seconds * SECOND);
    }),
  );
});

test("DUR-G2: the order of groups makes no difference, a repeated group always does", (t) => {
  const units = fc.subarray(["w", "d", "h", "m", "s"], { minLength: 1 });
  fc.assert(
    fc.property(units, fc.array(fc.nat(900), { minLength: 5, maxLength: 5 }), fc.nat(), (chosen, counts, turn) => {
      const groups = chosen.map((unit, index) => `${counts[index] ?? 0}${unit}`);
      const at = turn % groups.length;
      const turned = [...groups.slice(at), ...groups.slice(0, at)];
      const ms = parseDuration(groups.join(""));
      t.not(ms, undefined);
      t.is(parseDuration(turned.join("")), ms);
      t.is(parseDuration([...turned, groups[0] ?? ""].join("")), undefined);
    }),
  );
});

test("DUR-G1: any text is a duration of whole seconds within bounds, or none", (t) => {
  const texts = fc.oneof(fc.string(), fc.stringMatching(/^[0-9wdhrms]{0,12}$/));
  fc.assert(
    fc.property(texts, (text) => {
      const ms = parseDuration(text);
      t.true(ms === undefined || (ms >= 0 && ms <= CENTURY_MS && ms % SECOND === 0));
    }),
  );
});

test("DLY-1, DLY-3: durations and dates are delays", (t) => {
  t.deepEqual(parseDelay("1h52m18s", NOW), { ok: true, dueMs: NOW + HOUR + 52 * MINUTE + 18 * SECOND });
  t.deepEqual(parseDelay("2025-12-01", NOW), { ok: true, dueMs: Date.UTC(2025, 11, 1) });
  t.deepEqual(parseDelay("2025-12-01T10:30", NOW), { ok: true, dueMs: Date.UTC(2025, 11, 1, 10, 30) });
  t.deepEqual(parseDelay("2025-12-01T10:30:15Z", NOW), { ok: true, dueMs: Date.UTC(2025, 11, 1, 10, 30, 15) });
  t.deepEqual(parseDelay({ instantMs: NOW + 5 }, NOW), { ok: true, dueMs: NOW + 5 });
  t.deepEqual(parseDelay({ durationMs: 1_500 }, NOW), { ok: true, dueMs: NOW + 1_500 });
});

test("DLY-2: a date-time without zone is UTC, one with an offset is moved by it", (t) => {
  t.is(parseDateTime("2024-12-01T00:00:00"), Date.UTC(2024, 11, 1));
  t.is(parseDateTime("2024-12-01T02:00:00+02:00"), Date.UTC(2024, 11, 1));
  t.is(parseDateTime("2024-11-30T18:30-05:30"), Date.UTC(2024, 11, 1));
  t.is(parseDateTime("2024-02-29"), Date.UTC(2024, 1, 29));
});

test("DLY-2: every instant is read as Date writes it, and without its zone the same", (t) => {
  const date = fc.date({
    min: new Date("0000-01-01T00:00:00Z"),
    max: new Date("9999-12-31T23:59:59Z"),
    noInvalidDate: true,
  });
  fc.assert(
    fc.property(date, (instant) => {
      t.is(parseDateTime(instant.toISOString()), instant.getTime());
      t.is(parseDateTime(instant.toISOString().replace("Z", "")), instant.getTime());
    }),
  );
});

test("DLY-3, DLY-5: what is neither duration nor date is refused by name", (t) => {
  const refused = [
    "",
    "10",
    "2025",
    "tomorrow",
    "2025-13-01",
    "2025-02-30",
    "2025-1-1",
    "2025-12-01T24:00",
    "2025-12-01T10",
  ];
  const more = [
    "2025-12-01 10:00",
    "2025-12-01T10:60",
    "2025-12-01T10:00:60",
    "2025-12-01T10:00Z+01:00",
    "2025-12-01Z",
  ];
  for (const value of [...refused, ...more, "2025-12-01T10:00+25:00", "1h2h", "-1h", " 2025-12-01"]) {
    t.deepEqual(parseDelay(value, NOW), { ok: false }, value);
    t.is(delayViolation("options.delay", value).message, `Invalid delay: ${value}`);
  }
  t.deepEqual(parseDelay({ instantMs: Number.NaN }, NOW), { ok: false });
  t.deepEqual(parseDelay({ durationMs: Number.NaN }, NOW), { ok: false });
  t.deepEqual(parseDelay({ durationMs: -1 }, NOW), { ok: false });
  t.is(delayViolation("options.delay", { instantMs: Number.NaN }).message, "Invalid delay: Invalid Date");
  t.is(delayViolation("options.delay", { durationMs: -1_500 }).message, "Invalid delay: -1.5s");
  t.is(delayViolation("options.delay", { instantMs: 0 }).message, "Invalid delay: 1970-01-01T00:00:00.000Z");
});

test("DLY-4, DLY-6: an instant that is not in the future and 0s are no delay", (t) => {
  for (const value of ["2024-01-01", "2025-06-15T12:00:00", "0s", { instantMs: NOW }, { durationMs: 0 }]) {
    t.deepEqual(parseDelay(value, NOW), { ok: true, dueMs: undefined }, JSON.stringify(value));
  }
});

test("DLY-5, DUR-G8: 100 years ahead pass, a millisecond more does not", (t) => {
  t.deepEqual(parseDelay("36500d", NOW), { ok: true, dueMs: NOW + CENTURY_MS });
  t.deepEqual(parseDelay({ instantMs: NOW + CENTURY_MS }, NOW), { ok: true, dueMs: NOW + CENTURY_MS });
  t.deepEqual(parseDelay({ instantMs: NOW + CENTURY_MS + 1 }, NOW), { ok: false });
  t.deepEqual(parseDelay({ durationMs: CENTURY_MS + 1 }, NOW), { ok: false });
  t.deepEqual(parseDelay("2125-07-01", NOW), { ok: false });
});

test("DLY-8: a fraction of a millisecond is rounded up, so that no run is early", (t) => {
  t.is(parseDateTime("2025-12-01T00:00:00.5"), Date.UTC(2025, 11, 1, 0, 0, 0, 500));
  t.is(parseDateTime("2025-12-01T00:00:00.123"), Date.UTC(2025, 11, 1, 0, 0, 0, 123));
  t.is(parseDateTime("2025-12-01T00:00:00.1230"), Date.UTC(2025, 11, 1, 0, 0, 0, 123));
  t.is(parseDateTime("2025-12-01T00:00:00.1230001"), Date.UTC(2025, 11, 1, 0, 0, 0, 124));
  t.deepEqual(parseDelay({ durationMs: 0.25 }, NOW), { ok: true, dueMs: NOW + 1 });
});

test("RUN-14: reschedule counts from now, takes 0s as due now, and refuses the past", (t) => {
  t.deepEqual(parseReschedule("1h", NOW), { ok: true, dueMs: NOW + HOUR });
  t.deepEqual(parseReschedule("0s", NOW), { ok: true, dueMs: NOW });
  t.deepEqual(parseReschedule({ instantMs: NOW + 1 }, NOW), { ok: true, dueMs: NOW + 1 });
  t.deepEqual(parseReschedule({ instantMs: NOW - 1 }, NOW), { ok: false });
  t.deepEqual(parseReschedule("2024-01-01", NOW), { ok: false });
  t.deepEqual(parseReschedule("soon", NOW), { ok: false });
});

test("TTL-1: strings read back as written, numbers with units", (t) => {
  t.deepEqual(parseTtl("90m"), { ms: 90 * MINUTE, text: "90m" });
  t.deepEqual(parseTtl({ seconds: 3_600 }), { ms: HOUR, text: "1h" });
  t.deepEqual(parseTtl("1h"), { ms: HOUR, text: "1h" });
  t.deepEqual(parseTtl({ seconds: 5_400 }), { ms: 90 * MINUTE, text: "1h30m" });
});

test("TTL-2, TTL-9: dates, fractions, negative and malformed ttl are refused by name", (t) => {
  for (const value of ["2025-12-01", "3600", "", "1.5h", "-1h", "1h1h"]) {
    t.is(parseTtl(value), undefined, value);
    t.is(ttlViolation("options.ttl", value).message, `Invalid ttl: ${value}`);
  }
  for (const seconds of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, CENTURY_MS / SECOND + 1]) {
    t.is(parseTtl({ seconds }), undefined, String(seconds));
    t.is(ttlViolation("options.ttl", { seconds }).message, `Invalid ttl: ${seconds}`);
  }
});

test("TTL-7: the first that says something wins, and 0 says none", (t) => {
  const hour = { ms: HOUR, text: "1h" };
  const day = { ms: DAY, text: "1d" };
  t.is(parseTtl("0s"), "none");
  t.is(parseTtl({ seconds: 0 }), "none");
  t.deepEqual(resolveTtl([hour, day, "none"], undefined), hour);
  t.deepEqual(resolveTtl([undefined, day, hour], undefined), day);
  t.is(resolveTtl(["none", day], undefined), undefined);
  t.is(resolveTtl([undefined, undefined], undefined), undefined);
});

test("TTL-8: with a maximum a missing ttl becomes it, a longer one is cut, a shorter one stays", (t) => {
  const most = { ms: 90 * MINUTE, text: "1h30m" };
  t.deepEqual(resolveTtl([undefined], most.ms), most);
  t.deepEqual(resolveTtl(["none", { ms: MINUTE, text: "1m" }], most.ms), most);
  t.deepEqual(resolveTtl([{ ms: DAY, text: "24h" }], most.ms), most);
  t.deepEqual(resolveTtl([{ ms: MINUTE, text: "60s" }], most.ms), { ms: MINUTE, text: "60s" });
  t.deepEqual(resolveTtl([{ ms: most.ms, text: "90m" }], most.ms), { ms: most.ms, text: "90m" });
});

test("DUR-1: below 5 is raised to 5, 0 is not given, the largest value is no limit", (t) => {
  t.is(resolveMaxDuration([1]), 5);
  t.is(resolveMaxDuration([5]), 5);
  t.is(resolveMaxDuration([6]), 6);
  t.is(resolveMaxDuration([0, null, undefined]), undefined);
  t.is(resolveMaxDuration([MAX_DURATION_NONE, 60]), undefined);
  t.is(resolveMaxDuration([MAX_DURATION_NONE - 1]), MAX_DURATION_NONE - 1);
  t.true(isMaxDuration(MAX_DURATION_NONE));
  t.false(isMaxDuration(MAX_DURATION_NONE + 1));
  t.false(isMaxDuration(1.5));
  t.false(isMaxDuration(Number.NaN));
});

test("DUR-2: trigger, then task, then worker configuration", (t) => {
  t.is(resolveMaxDuration([10, 20, 30]), 10);
  t.is(resolveMaxDuration([undefined, 20, 30]), 20);
  t.is(resolveMaxDuration([0, undefined, 30]), 30);
});
