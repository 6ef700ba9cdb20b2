/**
 * A thread of the store: the writer, which owns the directory, or the reader. Messages that arrived while it was at work are carried out
 * in groups; each is answered for itself, in the order of their arrival.
 */
import { join } from "node:path";
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { isStoreFault, type Outcome } from "./group.js";
import { type Lock, lockDirectory } from "./lock.js";
import { type PackedRows, unpackRows } from "./packed-rows.js";
import { packOutcomes } from "./packed-runs.js";
import { Reader } from "./reader.js";
import type { Call } from "./verbs.js";
import { Writer } from "./writer.js";

export interface ThreadData {
  readonly role: "writer" | "reader";
  readonly directory: string;
}

/** Calls as they travel: of inserts that stand side by side the numbers of their rows, which are packed beside the calls. */
export type SentCall =
  | Exclude<Call, { readonly verb: "insertRuns" }>
  | { readonly verb: "insertRuns"; readonly counts: readonly number[] };

export type Ask =
  | { readonly kind: "open" }
  /** Answered with PackedOutcomes. */
  | { readonly kind: "execute"; readonly calls: readonly SentCall[]; readonly rows?: PackedRows }
  | { readonly kind: "query"; readonly sql: string }
  | { readonly kind: "close" };

export type Answer =
  | { readonly kind: "done"; readonly value: unknown }
  /** `isFault`: of the file or its disk. */
  | { readonly kind: "failed"; readonly error: unknown; readonly isFault: boolean };

type ExecuteAsk = Extract<Ask, { readonly kind: "execute" }>;

/** What a thread does. */
interface Role {
  readonly execute: (calls: readonly Call[]) => readonly Outcome[];
  readonly other: (ask: Exclude<Ask, ExecuteAsk>) => unknown;
}

/** Messages of one transaction; bounds the time that the first of a group waits for the last. */
const GROUP_MAX = 64;

function writerRole(directory: string): Role {
  const writer = new Writer(join(directory, "hairtrigger.db"));
  let lock: Lock | undefined;
  const close = (): void => {
    writer.close();
    lock?.release();
    lock = undefined;
  };
  return {
    execute: (calls) => writer.execute(calls),
    other: (ask) => {
      switch (ask.kind) {
        case "open":
          lock = lockDirectory(directory);
          try {
            return writer.open();
          } catch (error) {
            close();
            throw error;
          }
        case "query":
          return writer.query(ask.sql);
        case "close":
          return close();
      }
    },
  };
}

function readerRole(directory: string): Role {
  const reader = new Reader(join(directory, "hairtrigger.db"));
  return {
    execute: (calls) => reader.execute(calls),
    other: (ask) => {
      if (ask.kind === "close") return reader.close();
      throw new TypeError(`the reader does not ${ask.kind}`);
    },
  };
}

function serve(data: ThreadData): void {
  const port = parentPort;
  if (port === null) throw new TypeError("this file runs as a thread of the store");
  const role = data.role === "writer" ? writerRole(data.directory) : readerRole(data.directory);
  const waiting: Ask[] = [];
  port.on("message", (first: Ask) => {
    waiting.push(first);
    while (waiting.length > 0) {
      receiveAll(port, waiting);
      const ask = waiting[0];
      if (ask?.kind === "execute") executeGroup(port, role, takeGroup(waiting));
      else if (ask !== undefined) {
        waiting.shift();
        const sent = answer(() => role.other(ask));
        post(port, sent);
        if (ask.kind === "close") return port.close();
      }
    }
  });
}

/**
 * Half of the messages that wait in front, at least one: while the callers of one half are answered and make their next calls, the other
 * half is committed, so that neither thread waits for the other.
 */
function takeGroup(waiting: Ask[]): readonly ExecuteAsk[] {
  const isOther = (ask: Ask): boolean => ask.kind !== "execute";
  const inFront = waiting.findIndex(isOther);
  const count = Math.min(Math.ceil((inFront < 0 ? waiting.length : inFront) / 2), GROUP_MAX);
  return waiting.splice(0, count).filter((ask) => ask.kind === "execute");
}

function executeGroup(port: MessagePort, role: Role, asks: readonly ExecuteAsk[]): void {
  const calls = asks.map(receivedCalls);
  const outcomes = answer(() => role.execute(calls.flat()));
  let taken = 0;
  for (const own of calls) {
    const from = taken;
    taken += own.length;
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the value comes from the other thread, which checked it
    post(port, outcomes.kind === "failed" ? outcomes : packed(own, (outcomes.value as Outcome[]).slice(from, taken)));
  }
}

function packed(calls: readonly Call[], outcomes: readonly Outcome[]): Answer {
  return answer(() =>
    packOutcomes(
      calls.map(({ verb }) => verb),
      outcomes,
    ),
  );
}

function receivedCalls({ calls, rows }: ExecuteAsk): readonly Call[] {
  const unpacked = rows === undefined ? [] : unpackRows(rows);
  let taken = 0;
  return calls.flatMap((call): readonly Call[] => {
    if (call.verb !== "insertRuns") return [call];
    return call.counts.map((count) => ({ verb: call.verb, inserts: unpacked.slice(taken, (taken += count)) }));
  });
}

function receiveAll(port: MessagePort, waiting: Ask[]): void {
  for (;;) {
    const received: { readonly message: Ask } | undefined = receiveMessageOnPort(port);
    if (received === undefined) return;
    waiting.push(received.message);
  }
}

function answer(work: () => unknown): Answer {
  try {
    return { kind: "done", value: work() };
  } catch (error) {
    return { kind: "failed", error, isFault: isStoreFault(error) };
  }
}

function post(port: MessagePort, sent: Answer): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  port.postMessage(sent);
}

serve(workerData);
