/**
 * A thread of the store: the writer, which owns the directory, or the reader. Everything that arrived while it was at work is its next
 * group; each message is answered for itself, in the order of their arrival.
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

/** Calls of one transaction; bounds the time that the first of a group waits for the last. */
const GROUP_MAX = 2_000;

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
  port.on("message", (first: Ask) => {
    let next: Ask | undefined = first;
    while (next !== undefined) {
      const ask: Ask = next;
      if (ask.kind === "execute") next = executeGroup(port, role, ask);
      else {
        post(
          port,
          answer(() => role.other(ask)),
        );
        if (ask.kind === "close") return port.close();
        next = receive(port);
      }
    }
  });
}

/** Carries out a message and those that wait behind it, as one group. @returns the first message that is not of the group. */
function executeGroup(port: MessagePort, role: Role, first: ExecuteAsk): Ask | undefined {
  const asks = [receivedCalls(first)];
  let count = asks[0]?.length ?? 0;
  let next: Ask | undefined;
  while (count < GROUP_MAX) {
    next = receive(port);
    if (next?.kind !== "execute") break;
    const calls = receivedCalls(next);
    asks.push(calls);
    count += calls.length;
    next = undefined;
  }
  const outcomes = answer(() => role.execute(asks.flat()));
  let taken = 0;
  for (const calls of asks) {
    const from = taken;
    taken += calls.length;
    post(port, outcomes.kind === "failed" ? outcomes : packed(calls, (outcomes.value as Outcome[]).slice(from, taken)));
  }
  return next;
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

function receive(port: MessagePort): Ask | undefined {
  const received: { readonly message: Ask } | undefined = receiveMessageOnPort(port);
  return received?.message;
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
