/**
 * Logging of tasks (LOG-1). A line is printed as one JSON object, to the console's stream for its level; inside a run it carries run id, attempt
 * and task, and is kept with the run: the last 200 lines, 16 KB.
 */
import { systemClock } from "./clock.js";
import { currentRun, type LogRecord, type RunContext } from "./run-context.js";
import type { LogLevel } from "./task-context.js";

/** What is logged beside the message: a plain object. */
export type LogProperties = Readonly<Record<string, unknown>>;

function write(level: LogLevel, message: string, properties?: LogProperties): void {
  const run = currentRun();
  const record: LogRecord = {
    time: new Date(systemClock.nowMs()),
    level,
    message,
    propertiesJson: propertiesJson(properties),
  };
  print(record, run);
  run?.log(record);
}

/** Logging must not fail its run: what has no JSON is logged as its text. */
function propertiesJson(properties: LogProperties | undefined): string | undefined {
  if (properties === undefined) return undefined;
  const seen = new WeakSet<object>();
  try {
    const json: unknown = JSON.stringify(properties, (_, value: unknown) => {
      if (typeof value === "bigint" || typeof value === "function" || typeof value === "symbol") return String(value);
      if (value instanceof Error) return { name: value.name, message: value.message, stack: value.stack };
      if (typeof value !== "object" || value === null) return value;
      if (seen.has(value)) return "[seen above]";
      seen.add(value);
      return value;
    });
    return typeof json === "string" && json.startsWith("{") ? json : JSON.stringify({ value: json });
  } catch (error) {
    return JSON.stringify({ unprintable: String(error) });
  }
}

/** One line of JSON: members of the record first, then the properties. */
function print(record: LogRecord, run: RunContext | undefined): void {
  const { time, level, message } = record;
  const head = JSON.stringify({
    time: time.toISOString(),
    level,
    message,
    ...(run === undefined ? {} : { task: run.ctx.task.id, run: run.ctx.run.id, attempt: run.ctx.attempt.number }),
  });
  const line =
    record.propertiesJson === undefined ? head : `${head.slice(0, -1)},"properties":${record.propertiesJson}}`;
  consoleOf(level)(line);
}

function consoleOf(level: LogLevel): (line: string) => void {
  switch (level) {
    case "error":
    case "warn":
      return (line) => console.error(line);
    case "trace":
    case "debug":
    case "log":
    case "info":
      return (line) => console.log(line);
  }
}

/** Writes structured lines. Inside a run they are kept with it and shown by `runs.retrieve(id).logs`; outside they are only printed. */
export const logger = {
  /** Steps, for whoever follows the code. */
  trace: (message: string, properties?: LogProperties): void => write("trace", message, properties),
  /** For whoever looks for a bug. */
  debug: (message: string, properties?: LogProperties): void => write("debug", message, properties),
  /** Ordinary output. */
  log: (message: string, properties?: LogProperties): void => write("log", message, properties),
  /** Worth knowing. */
  info: (message: string, properties?: LogProperties): void => write("info", message, properties),
  /** Probably wrong. */
  warn: (message: string, properties?: LogProperties): void => write("warn", message, properties),
  /** Wrong. */
  error: (message: string, properties?: LogProperties): void => write("error", message, properties),
} as const;
