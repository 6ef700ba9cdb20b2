/** What verbs work with. One per store. */
import type { AppError } from "../../domain/error.js";
import { storeUnavailable } from "../../domain/error.js";
import type { AnswerDoc } from "./answers.js";
import type { BatchDoc, ChunkDoc, PendingDoc } from "./batch-doc.js";
import type { Client, Identified, Table } from "./client.js";
import type { HeadDoc } from "./heads.js";
import type { KeyDoc } from "./keys.js";
import type { LogsDoc } from "./logs.js";
import type { MetadataSourceDoc } from "./metadata.js";
import type { QueueSizes } from "./queue-sizes.js";
import type { RunDoc } from "./run-doc.js";
import type { SecretKeyDoc } from "./secret-keys.js";
import type { SessionDoc } from "./sessions.js";
import type { QueueDoc, Settings } from "./settings.js";
import type { SlotsDoc } from "./slots.js";
import type { StreamChunksDoc, StreamDoc } from "./streams.js";
import type { TaskDoc } from "./tasks.js";
import type { TokenUseDoc } from "./token-uses.js";
import type { WaitpointDoc } from "./waitpoints.js";

/** Time and timers of this machine; the engine's clock fits. */
export interface MachineClock {
  /** Milliseconds; never backwards. */
  nowMs(): number;
  setTimer(delayMs: number, callback: () => void): { cancel(): void };
}

export interface Entropy {
  bytes(length: number): Uint8Array;
}

export interface MetaDoc extends Identified {
  readonly secret?: unknown;
  readonly probes?: number;
}

export interface Context {
  readonly client: Client;
  readonly clock: MachineClock;
  readonly entropy: Entropy;
  /** The database's clock (design 12). */
  readonly databaseMs: () => number;
  readonly settings: Settings;
  readonly sizes: QueueSizes;
  readonly runs: Table<RunDoc>;
  readonly keys: Table<KeyDoc>;
  readonly batches: Table<BatchDoc>;
  readonly chunks: Table<ChunkDoc>;
  readonly pendingRuns: Table<PendingDoc>;
  readonly answers: Table<AnswerDoc>;
  readonly secretKeys: Table<SecretKeyDoc>;
  readonly tokenUses: Table<TokenUseDoc>;
  readonly metadataSources: Table<MetadataSourceDoc>;
  readonly streams: Table<StreamDoc>;
  readonly streamChunks: Table<StreamChunksDoc>;
  readonly queues: Table<QueueDoc>;
  readonly slots: Table<SlotsDoc>;
  readonly heads: Table<HeadDoc>;
  readonly tasks: Table<TaskDoc>;
  readonly sessions: Table<SessionDoc>;
  readonly logs: Table<LogsDoc>;
  readonly waitpoints: Table<WaitpointDoc>;
  readonly meta: Table<MetaDoc>;
}

/** Tells one write from every other: 96 bits. */
export function newToken({ entropy }: Context): string {
  return Buffer.from(entropy.bytes(12)).toString("base64url");
}

export function pause({ clock }: Pick<Context, "clock">, ms: number): Promise<void> {
  return new Promise((resolve) => {
    clock.setTimer(ms, resolve);
  });
}

/** Every loop that others can make turn again is bounded; more turns than this mean that something is wrong, not busy. */
export const ROUNDS_MAX = 50;

/** Races were lost again and again: nothing of the call is acknowledged, and its repeat completes it. */
export function racesLost(what: string): AppError {
  return storeUnavailable(new Error(`${what} was changed by others ${ROUNDS_MAX} times in a row`));
}
