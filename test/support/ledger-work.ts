/** What the processes that write ledgers are told. */

export interface LedgerWorkerOptions {
  readonly name: string;
  readonly ledger: string;
  /** Default 10. */
  readonly concurrency?: number;
  /** Default 25,000. */
  readonly gracePeriodMs?: number;
}

/** What the code of a run does. */
export interface Work {
  readonly number: number;
  /** Takes this long. Default: no time. */
  readonly ms?: number;
  /** Waits for its release if it runs in the worker of this name, the first time. */
  readonly holdIn?: string;
  /** Triggers so many children of the task `counted`. Only of the task `count`. */
  readonly children?: number;
  /** Does not look at its signal. */
  readonly isStubborn?: boolean;
}

/** Parent → worker. */
export interface ReleaseMessage {
  readonly release: number;
}

/** Of the queue `narrow`, which the tasks `narrow-a` and `narrow-b` share. */
export const NARROW_LIMIT = 3;

/** Of each concurrency key of the task `keyed`. */
export const KEYED_LIMIT = 1;

export interface LedgerProducerOptions {
  readonly name: string;
  readonly ledger: string;
  readonly calls: number;
  /** The numbers of the calls start here. Default 0. */
  readonly firstNumber?: number;
  /** Distinct idempotency keys, which the calls go through in turn. Default: no keys. */
  readonly keys?: number;
  /** Concurrent calls. */
  readonly callers: number;
}
