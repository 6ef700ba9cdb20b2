/**
 * Lines that runs logged and that have not been sent (LOG-1). Bounded: of each run the last 200 lines, which is what the server keeps, and
 * 10,000 lines in all; beyond that the oldest run's lines make room. Lines on their way when a connection breaks are lost.
 */
import { create } from "@bufbuild/protobuf";
import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { LogLevel as LogLevelEnum, type LogLine, LogLineSchema } from "../../gen/hairtrigger/v1/run_pb.js";
import { type RunLogLines, RunLogLinesSchema } from "../../gen/hairtrigger/worker/v1/worker_pb.js";
import type { LogRecord } from "../../run-context.js";
import type { LogLevel } from "../../task-context.js";

/** LOG-1. */
const LINES_PER_RUN = 200;
const LINES_MAX = 10_000;
/** LOG-1: what the server keeps of a run in all; a longer line would push out every other. In UTF-16 units. */
const LINE_LENGTH_MAX = 16_384;
/** Lines of one message, so that a chatty run does not delay reports. */
const LINES_PER_FLUSH = 1_000;

const LEVELS: Readonly<Record<LogLevel, LogLevelEnum>> = {
  trace: LogLevelEnum.TRACE,
  debug: LogLevelEnum.DEBUG,
  log: LogLevelEnum.LOG,
  info: LogLevelEnum.INFO,
  warn: LogLevelEnum.WARN,
  error: LogLevelEnum.ERROR,
};

export class LogBuffer {
  readonly #runs = new Map<string, LogLine[]>();
  #count = 0;

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  add(runId: string, attempt: number, line: LogRecord): void {
    const { time, level, message, propertiesJson } = line;
    let lines = this.#runs.get(runId);
    if (lines === undefined) {
      lines = [];
      this.#runs.set(runId, lines);
    }
    // JSON that is cut is no JSON: what is too long is left out, the message says what it can.
    const fits = propertiesJson !== undefined && message.length + propertiesJson.length <= LINE_LENGTH_MAX;
    lines.push(
      create(LogLineSchema, {
        time: timestampFromDate(time),
        level: LEVELS[level],
        message: message.slice(0, LINE_LENGTH_MAX),
        attempt,
        propertiesJson: fits ? propertiesJson : "",
      }),
    );
    this.#count += 1;
    if (lines.length > LINES_PER_RUN) {
      lines.shift();
      this.#count -= 1;
    } else if (this.#count > LINES_MAX) this.#dropOldestRun(runId);
  }

  take(): RunLogLines[] {
    const taken: RunLogLines[] = [];
    let count = 0;
    for (const [runId, lines] of this.#runs) {
      if (count > 0 && count + lines.length > LINES_PER_FLUSH) break;
      count += lines.length;
      taken.push(create(RunLogLinesSchema, { runId, lines }));
      this.#runs.delete(runId);
    }
    this.#count -= count;
    return taken;
  }

  #dropOldestRun(exceptRunId: string): void {
    for (const [runId, lines] of this.#runs) {
      if (runId === exceptRunId) continue;
      this.#runs.delete(runId);
      this.#count -= lines.length;
      return;
    }
  }
}
