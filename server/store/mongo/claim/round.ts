/** One round of a claim: what it looks for, and what came of it. */
import type { ClaimedRun, ClaimRequest } from "../../store.js";
import { sessionTarget, taskTarget } from "../run-doc.js";
import type { Snapshot } from "../settings.js";

export interface Round {
  readonly request: ClaimRequest;
  readonly snapshot: Snapshot;
  readonly places: number;
  readonly headsMax: number;
  /** Runs of the claim index that are passed over. */
  readonly skip: number;
}

export interface RoundOutcome {
  readonly given: readonly { readonly pos: string; readonly run: ClaimedRun }[];
  /** Nothing more can start. */
  readonly isDone: boolean;
  readonly isLost: boolean;
}

export function targetsOf({ sessionId, tasks }: ClaimRequest): readonly string[] {
  return [sessionTarget(sessionId), ...tasks.map(({ taskId }) => taskTarget(taskId))];
}

export function notBlocked({ blocked }: Snapshot): { readonly queue?: { readonly $nin: readonly string[] } } {
  return blocked.length === 0 ? {} : { queue: { $nin: blocked } };
}
