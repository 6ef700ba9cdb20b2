/**
 * A thread of the store: the writer, which owns the directory, or the reader. It carries out one message after the other; grouping is
 * done by who sends them (lane.ts).
 */
import { join } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import { isStoreFault } from "./group.js";
import { type Lock, lockDirectory } from "./lock.js";
import { type PackedRows, unpackRows } from "./packed-rows.js";
import { Reader } from "./reader.js";
import type { Call } from "./verbs.js";
import { Writer } from "./writer.js";

export interface ThreadData {
  readonly role: "writer" | "reader";
  readonly directory: string;
}

/** A call as it travels: of an insert the number of its rows, which are packed beside the calls. */
export type SentCall =
  | Exclude<Call, { readonly verb: "insertRuns" }>
  | { readonly verb: "insertRuns"; readonly count: number };

export type Ask =
  | { readonly kind: "open" }
  | { readonly kind: "execute"; readonly calls: readonly SentCall[]; readonly rows?: PackedRows }
  | { readonly kind: "query"; readonly sql: string }
  | { readonly kind: "close" };

export type Answer =
  | { readonly kind: "done"; readonly value: unknown }
  /** `isFault`: of the file or its disk. */
  | { readonly kind: "failed"; readonly error: unknown; readonly isFault: boolean };

function receivedCalls({ calls, rows }: Extract<Ask, { readonly kind: "execute" }>): readonly Call[] {
  const unpacked = rows === undefined ? [] : unpackRows(rows);
  let taken = 0;
  return calls.map((call) => {
    if (call.verb !== "insertRuns") return call;
    return { verb: call.verb, inserts: unpacked.slice(taken, (taken += call.count)) };
  });
}

type Handler = (ask: Ask) => unknown;

function writerHandler(directory: string): Handler {
  const writer = new Writer(join(directory, "hairtrigger.db"));
  let lock: Lock | undefined;
  const close = (): void => {
    writer.close();
    lock?.release();
    lock = undefined;
  };
  return (ask) => {
    switch (ask.kind) {
      case "open":
        lock = lockDirectory(directory);
        try {
          return writer.open();
        } catch (error) {
          close();
          throw error;
        }
      case "execute":
        return writer.execute(receivedCalls(ask));
      case "query":
        return writer.query(ask.sql);
      case "close":
        return close();
    }
  };
}

function readerHandler(directory: string): Handler {
  const reader = new Reader(join(directory, "hairtrigger.db"));
  return (ask) => {
    switch (ask.kind) {
      case "execute":
        return reader.execute(receivedCalls(ask));
      case "close":
        return reader.close();
      default:
        throw new TypeError(`the reader does not ${ask.kind}`);
    }
  };
}

function serve(data: ThreadData): void {
  const port = parentPort;
  if (port === null) throw new TypeError("this file runs as a thread of the store");
  const handle = data.role === "writer" ? writerHandler(data.directory) : readerHandler(data.directory);
  port.on("message", (ask: Ask) => {
    port.postMessage(answer(handle, ask));
    if (ask.kind === "close") port.close();
  });
}

function answer(handle: Handler, ask: Ask): Answer {
  try {
    return { kind: "done", value: handle(ask) };
  } catch (error) {
    return { kind: "failed", error, isFault: isStoreFault(error) };
  }
}

serve(workerData);
