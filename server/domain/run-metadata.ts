/** A run whose metadata is to change: who may, and what the run is afterwards (MET-11, RUN-8). */
import {
  applyMetadata,
  type MetadataOperation,
  type MetadataRefusal,
  type NumberedOperations,
  unapplied,
} from "./metadata-operations.js";
import type { RunState } from "./run.js";
import type { AttemptRef } from "./run-change.js";
import { touched } from "./run-moves.js";

export interface MetadataChange extends NumberedOperations {
  readonly attempt: AttemptRef | undefined;
  readonly isWhole: boolean;
  readonly bytesMax: number;
  readonly nowMs: number;
}

export type MetadataOutcome =
  /** Nothing was left to apply. */
  | { readonly kind: "same" }
  | {
      readonly kind: "changed";
      readonly run: RunState;
      readonly json: string;
      readonly refusal: MetadataRefusal | undefined;
    }
  | { readonly kind: "refused"; readonly refusal: MetadataRefusal | { readonly reason: "final" | "stale" } };

/** What was applied before is said to be so whatever became of the run: only a change needs a live one. */
export function changeMetadata(run: RunState, json: string | undefined, change: MetadataChange): MetadataOutcome {
  const operations: readonly MetadataOperation[] = unapplied(change);
  if (operations.length === 0) return { kind: "same" };
  const { attempt, nowMs } = change;
  if (attempt !== undefined && (attempt.sessionId !== run.sessionId || attempt.number !== run.attempt)) {
    return { kind: "refused", refusal: { reason: "stale" } };
  }
  if (run.finishedAtMs !== undefined) return { kind: "refused", refusal: { reason: "final" } };
  const result = applyMetadata(json, operations, change);
  if (result.refusal !== undefined && (change.isWhole || result.json === (json ?? "{}"))) {
    return { kind: "refused", refusal: result.refusal };
  }
  return { kind: "changed", run: touched(run, nowMs), json: result.json, refusal: result.refusal };
}
