/**
 * Changes of metadata of one worker on their way into the record. A report waits for what was sent before it, so that a run is not over
 * before its last changes.
 */
import type { MetadataAcknowledgement } from "#proto/hairtrigger/worker/v1/worker_pb.js";
import type { MetadataReport } from "../../engine/engine.js";
import { metadataAcknowledgementOf } from "../convert/metadata.js";
import { CommitLane, type CommitLaneParams } from "./commit-lane.js";

const COMMIT_MAX = 500;
const WAITING_MAX = 2_000;

export type MetadataLane = CommitLane<MetadataReport, MetadataAcknowledgement>;

export function metadataLane(
  params: Pick<CommitLaneParams<MetadataReport, MetadataAcknowledgement>, "onAnswers" | "onError">,
): MetadataLane {
  return new CommitLane({
    ...params,
    commitMax: COMMIT_MAX,
    waitingMax: WAITING_MAX,
    async commit(session, batch) {
      const errors = await session.changeMetadata(batch);
      return batch.map((report, index) => metadataAcknowledgementOf(report, errors[index]));
    },
  });
}
