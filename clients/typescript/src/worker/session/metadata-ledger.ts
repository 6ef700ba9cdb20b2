/**
 * Changes of metadata on their way to the server (MET-3, MET-7). Each is numbered when it is made and kept until it is acknowledged, over any
 * number of connections; on each it is said once, and the server applies no number twice.
 *
 * - They are sent about once a second, at once when asked for, and always in or before the message with the next report of their run.
 * - Numbers rise within the session, not only within a run: a run that this session gives back and gets again, under the same number of
 *   attempt, makes changes that were never seen before.
 * - Neighbours that amount to one are one, as long as they have not been said: two settings of a key, two whole additions to it. So a loop that
 *   counts a million rows sends one number a second.
 * - Bounded: {@link PENDING_MAX} changes or {@link PENDING_BYTES_MAX} of a run; what comes then is refused.
 */
import { create } from "@bufbuild/protobuf";
import { statusError } from "../../convert/error.js";
import type { ApiError } from "../../errors.js";
import {
  MetadataOperationSchema,
  MetadataTarget as TargetEnum,
  type MetadataOperation as WireOperation,
} from "../../gen/hairtrigger/v1/run_pb.js";
import {
  type MetadataAcknowledgement,
  type MetadataOperations,
  MetadataOperationsSchema,
} from "../../gen/hairtrigger/worker/v1/worker_pb.js";
import type { MetadataOperation, StreamPublication } from "../../metadata-values.js";
import type { MetadataTarget } from "../../run-context.js";
import type { Deadlines } from "../deadlines.js";

export interface TargetedOperation {
  readonly target: MetadataTarget;
  readonly operation: MetadataOperation | StreamPublication;
}

/** The changes of one execution of a run. */
export interface MetadataWriter {
  /** What is not acknowledged, oldest first. */
  readonly pending: readonly TargetedOperation[];
  /** False: too much is pending. */
  add(change: TargetedOperation): boolean;
  /** Sends what there is. */
  send(): void;
  /** Sends what there is; resolves when it is acknowledged or given up. */
  flush(): Promise<void>;
  /** Until it is called again with false, what is added waits for a report or a flush. */
  hold(isHeld: boolean): void;
}

/** Called when changes are acknowledged; `pending` is what is left. @param refusal why the last refused one of them was. */
export type OnSettled = (settled: readonly TargetedOperation[], refusal: ApiError | undefined) => void;

/** Changes of one execution, in order, with the number of the first. */
export interface NumberedChanges {
  readonly runId: string;
  readonly attempt: number;
  readonly first: number;
  readonly changes: readonly TargetedOperation[];
}

export interface SettledChanges {
  readonly runId: string;
  readonly attempt: number;
  readonly sequence: number;
  readonly refusal: ApiError | undefined;
}

/** MET-3: about once a second. */
const FLUSH_MS = 1_000;
/** So many are sent without waiting for the second. */
const EAGER = 1_000;
const PENDING_MAX = 10_000;
const PENDING_BYTES_MAX = 16 * 1_024 * 1_024;
/** Changes of one run in one message. */
const PER_MESSAGE = 1_000;

const TARGETS: Readonly<Record<MetadataTarget, TargetEnum>> = {
  self: TargetEnum.SELF,
  parent: TargetEnum.PARENT,
  root: TargetEnum.ROOT,
};

interface Writer {
  readonly runId: string;
  readonly attempt: number;
  readonly onSettled: OnSettled;
  pending: TargetedOperation[];
  bytes: number;
  /** Number of `pending[0]`. */
  first: number;
  /** How many of `pending` have been said on this connection. */
  said: number;
  isHeld: boolean;
  waiting: { readonly upTo: number; readonly resolve: () => void }[];
}

export class MetadataLedger {
  readonly #deadlines: Deadlines;
  readonly #changed: () => void;
  /** Those with something pending. */
  readonly #writers = new Map<string, Set<Writer>>();
  readonly #due = new Set<Writer>();
  #issued = 0;
  #isTimed = false;

  constructor(deadlines: Deadlines, changed: () => void) {
    this.#deadlines = deadlines;
    this.#changed = changed;
  }

  /** Whether there is something to say now. */
  get isDue(): boolean {
    return this.#due.size > 0;
  }

  writer(runId: string, attempt: number, onSettled: OnSettled): MetadataWriter {
    const writer: Writer = {
      runId,
      attempt,
      onSettled,
      pending: [],
      bytes: 0,
      first: 0,
      said: 0,
      isHeld: false,
      waiting: [],
    };
    return {
      get pending() {
        return writer.pending;
      },
      add: (change) => this.#add(writer, change),
      send: () => this.#send(writer),
      flush: () => this.#flush(writer),
      hold: (isHeld) => {
        writer.isHeld = isHeld;
        if (!isHeld && writer.pending.length > 0) this.#setTimer();
      },
    };
  }

  /** A report of the run is to be said: its changes go first. */
  reporting(runId: string): void {
    for (const writer of this.#writers.get(runId) ?? []) if (writer.said < writer.pending.length) this.#due.add(writer);
  }

  /** The run is not ours any more: what was not acknowledged must not be said. */
  drop(runId: string): void {
    for (const writer of this.#writers.get(runId) ?? []) this.#settle(writer, writer.pending.length);
  }

  /** A new connection: what is not acknowledged is said again. */
  forgetSaid(): void {
    for (const writers of this.#writers.values()) {
      for (const writer of writers) {
        if (writer.said > 0) this.#due.add(writer);
        writer.said = 0;
      }
    }
  }

  /** What is to be said now, up to about `bytesMax`; more may be due afterwards. */
  take(bytesMax: number): MetadataOperations[] {
    return this.takeChanges(bytesMax).map(({ runId, attempt, first, changes }) =>
      create(MetadataOperationsSchema, {
        runId,
        attempt,
        firstSequence: BigInt(first),
        operations: changes.map(wireOperation),
      }),
    );
  }

  /** {@link take} for a reader in another process of this machine. */
  takeChanges(bytesMax: number): readonly NumberedChanges[] {
    const taken: NumberedChanges[] = [];
    let bytes = 0;
    for (const writer of this.#due) {
      const from = writer.said;
      const end = Math.min(writer.pending.length, from + PER_MESSAGE);
      while (writer.said < end && (bytes < bytesMax || (taken.length === 0 && writer.said === from))) {
        bytes += bytesOf(writer.pending[writer.said]);
        writer.said += 1;
      }
      if (writer.said === writer.pending.length) this.#due.delete(writer);
      if (writer.said > from) {
        const { runId, attempt, first } = writer;
        taken.push({ runId, attempt, first: first + from, changes: writer.pending.slice(from, writer.said) });
      }
      if (bytes >= bytesMax) break;
    }
    return taken;
  }

  acknowledged({ runId, attempt, sequence, error }: MetadataAcknowledgement): void {
    const refusal = error === undefined ? undefined : statusError(error, "");
    this.settled({ runId, attempt, sequence: Number(sequence), refusal });
  }

  /** The changes of an execution up to this number were applied, or refused. */
  settled({ runId, attempt, sequence, refusal }: SettledChanges): void {
    for (const writer of this.#writers.get(runId) ?? []) {
      const count = Math.min(writer.pending.length, sequence + 1 - writer.first);
      if (writer.attempt !== attempt || count <= 0) continue;
      const settled = writer.pending.slice(0, count);
      this.#settle(writer, count);
      writer.onSettled(settled, refusal);
    }
  }

  #add(writer: Writer, change: TargetedOperation): boolean {
    const last = writer.said < writer.pending.length ? writer.pending.at(-1) : undefined;
    const merged = last === undefined ? undefined : asOne(last, change);
    const bytes = bytesOf(change) - (merged === undefined ? 0 : bytesOf(last));
    if (writer.bytes + bytes > PENDING_BYTES_MAX) return false;
    if (merged !== undefined) writer.pending[writer.pending.length - 1] = merged;
    else {
      if (writer.pending.length >= PENDING_MAX) return false;
      this.#issued += 1;
      if (writer.pending.length === 0) this.#open(writer);
      writer.pending.push(change);
    }
    writer.bytes += bytes;
    if (writer.isHeld) return true;
    if (writer.pending.length - writer.said < EAGER) this.#setTimer();
    else this.#send(writer);
    return true;
  }

  #open(writer: Writer): void {
    writer.first = this.#issued;
    writer.said = 0;
    const writers = this.#writers.get(writer.runId) ?? new Set();
    writers.add(writer);
    this.#writers.set(writer.runId, writers);
  }

  /** The first `count` are acknowledged, or given up. */
  #settle(writer: Writer, count: number): void {
    const gone = writer.pending.splice(0, count);
    for (const change of gone) writer.bytes -= bytesOf(change);
    writer.first += count;
    writer.said = Math.max(0, writer.said - count);
    if (writer.said === writer.pending.length) this.#due.delete(writer);
    if (writer.pending.length === 0) {
      const writers = this.#writers.get(writer.runId);
      writers?.delete(writer);
      if (writers?.size === 0) this.#writers.delete(writer.runId);
    }
    const done = writer.waiting.filter(({ upTo }) => upTo < writer.first);
    writer.waiting = writer.waiting.filter(({ upTo }) => upTo >= writer.first);
    for (const { resolve } of done) resolve();
  }

  #flush(writer: Writer): Promise<void> {
    if (writer.pending.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      writer.waiting.push({ upTo: writer.first + writer.pending.length - 1, resolve });
      this.#send(writer);
    });
  }

  #send(writer: Writer): void {
    if (writer.said === writer.pending.length || this.#due.has(writer)) return;
    this.#due.add(writer);
    this.#changed();
  }

  /** One timer for all runs. */
  #setTimer(): void {
    if (this.#isTimed) return;
    this.#isTimed = true;
    this.#deadlines.set(FLUSH_MS, () => {
      this.#isTimed = false;
      for (const writers of this.#writers.values()) {
        for (const writer of writers) if (!writer.isHeld) this.#send(writer);
      }
    });
  }
}

/** Two neighbours as one that does the same. */
function asOne(before: TargetedOperation, after: TargetedOperation): TargetedOperation | undefined {
  const [a, b] = [before.operation, after.operation];
  if (before.target !== after.target) return undefined;
  if (a.kind === "set" && b.kind === "set") return a.key === b.key ? after : undefined;
  if (a.kind !== "increment" || b.kind !== "increment" || a.key !== b.key) return undefined;
  const amount = a.amount + b.amount;
  // Other numbers would come out different in the last digits.
  const isExact = [a.amount, b.amount, amount].every((number) => Number.isSafeInteger(number));
  return isExact ? { target: after.target, operation: { ...b, amount } } : undefined;
}

/** About. */
function bytesOf(change: TargetedOperation | undefined): number {
  if (change === undefined) return 0;
  const { operation } = change;
  switch (operation.kind) {
    case "replace":
      return 32 + operation.json.length;
    case "set":
    case "append":
    case "remove":
    case "publish":
      return 32 + operation.key.length + operation.valueJson.length;
    case "delete":
    case "increment":
      return 32 + operation.key.length;
  }
}

function wireOperation({ target, operation }: TargetedOperation): WireOperation {
  return create(MetadataOperationSchema, { target: TARGETS[target], operation: wireCase(operation) });
}

function wireCase(operation: TargetedOperation["operation"]) {
  switch (operation.kind) {
    case "set":
    case "append":
    case "remove":
    case "publish": {
      const { kind, key, valueJson } = operation;
      return { case: kind, value: { key, valueJson } } as const;
    }
    case "delete":
      return { case: "deleteKey", value: operation.key } as const;
    case "replace":
      return { case: "replaceJson", value: operation.json } as const;
    case "increment":
      return { case: "increment", value: { key: operation.key, amount: operation.amount } } as const;
  }
}
