/**
 * Names the waits of an execution, so that code that is executed again after an interruption or a lost worker re-joins what it waited for
 * before (TAW-10a), without any record but the things waited for themselves: the nth wait makes its run, batch or time under a request id
 * that is a hash of the run, of its first n waits, and of nothing else; the server answers a repeated request with what it made before.
 *
 * The first difference ends the matching, because every later name depends on it. Attempts that follow an ordinary failure begin another
 * chain. Rejected: a list of the waits kept by the server, one more write for each wait of each run, for what the ids say already.
 */
import { createHash } from "node:crypto";

/** TAW-10a: waits of a run that are re-joined; a loop that waits for ever must not depend on its whole past. */
const REJOINED_MAX = 1_000;

export interface WaitLedger {
  /** The request id of the coming wait. It may be asked for again, until the wait is {@link made}. */
  next(identity: readonly string[]): string;
  /** What is waited for exists. */
  made(requestId: string): void;
}

export interface WaitLedgerParams {
  readonly runId: string;
  /** The attempt since which waits are re-joined. */
  readonly rejoinAttempt: number;
  /** Off: `rejoin: false` on the task. */
  readonly isRejoining: boolean;
  readonly newRequestId: () => string;
}

export function createWaitLedger(params: WaitLedgerParams): WaitLedger {
  let chain = "";
  let count = 0;
  return {
    next(identity) {
      if (!params.isRejoining || count >= REJOINED_MAX) return params.newRequestId();
      const parts = [params.runId, params.rejoinAttempt, count, chain, ...identity];
      return `wait-${createHash("sha256").update(JSON.stringify(parts)).digest("hex")}`;
    },
    made(requestId) {
      chain = requestId;
      count += 1;
    },
  };
}
