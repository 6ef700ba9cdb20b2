/** Reports of one worker on their way into the record. */
import type { Acknowledgement } from "#proto/hairtrigger/worker/v1/worker_pb.js";
import type { OpenedSession } from "../../engine/engine.js";
import { acknowledgementOf, type DecodedReport } from "../convert/worker.js";
import { CommitLane, type CommitLaneParams } from "./commit-lane.js";

const COMMIT_MAX = 2_000;
const WAITING_MAX = 10_000;

export type ReportLane = CommitLane<DecodedReport, Acknowledgement>;

export function reportLane(
  params: Pick<CommitLaneParams<DecodedReport, Acknowledgement>, "before" | "onAnswers" | "onError">,
): ReportLane {
  return new CommitLane({ ...params, commit: answersFor, commitMax: COMMIT_MAX, waitingMax: WAITING_MAX });
}

async function answersFor(
  session: OpenedSession,
  batch: readonly DecodedReport[],
): Promise<readonly Acknowledgement[]> {
  const known = batch.flatMap(({ report }) => report ?? []);
  const instructions = known.length === 0 ? [] : await session.report(known);
  let next = 0;
  return batch.map(({ lease, report }) => {
    const instruction = report === undefined ? undefined : instructions[next++];
    return acknowledgementOf(lease, instruction ?? { kind: "lost" });
  });
}
