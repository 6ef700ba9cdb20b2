/** Log lines of runs (LOG-1). */
import { create } from "@bufbuild/protobuf";
import { LogLineSchema, LogLevel as WireLevel, type LogLine as WireLine } from "#proto/hairtrigger/v1/run_pb.js";
import type { LogLine } from "../../engine/engine.js";
import { msOfTimestamp, timestampOf } from "./time.js";

const LEVELS = {
  trace: WireLevel.TRACE,
  debug: WireLevel.DEBUG,
  log: WireLevel.LOG,
  info: WireLevel.INFO,
  warn: WireLevel.WARN,
  error: WireLevel.ERROR,
} as const satisfies Readonly<Record<LogLine["level"], WireLevel>>;

export function wireLogLine(line: LogLine): WireLine {
  return create(LogLineSchema, {
    time: timestampOf(line.timeMs),
    level: LEVELS[line.level],
    message: line.message,
    attempt: line.attempt,
    propertiesJson: line.fieldsJson ?? "",
  });
}

/** @param nowMs the time of a line that names none. */
export function logLineOfWire(line: WireLine, nowMs: number): LogLine {
  return {
    timeMs: line.time === undefined ? nowMs : Math.floor(msOfTimestamp(line.time)),
    level: levelOf(line.level),
    message: line.message,
    attempt: line.attempt,
    fieldsJson: line.propertiesJson === "" ? undefined : line.propertiesJson,
  };
}

function levelOf(level: WireLevel): LogLine["level"] {
  switch (level) {
    case WireLevel.TRACE:
      return "trace";
    case WireLevel.DEBUG:
      return "debug";
    case WireLevel.INFO:
      return "info";
    case WireLevel.WARN:
      return "warn";
    case WireLevel.ERROR:
      return "error";
    default:
      return "log";
  }
}
