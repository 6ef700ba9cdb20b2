/** Why a change of metadata was refused, as callers and workers are told. */
import { type AppError, appError, runFinal, runNotFound, staleLease } from "../domain/error.js";
import type { StreamRefusal } from "../domain/run-streams.js";
import type { ChangeMetadata, ChangeMetadataResult } from "../store/store.js";

/** The refusal in a result; undefined where all was applied. */
export function metadataRefusal(item: ChangeMetadata, result: ChangeMetadataResult): AppError | undefined {
  const { refusal } = result;
  switch (refusal?.reason) {
    case undefined:
      return undefined;
    case "unknown":
      return runNotFound(item.runId);
    case "stale":
      return staleLease(item.runId);
    case "final":
      return runFinal(item.runId, "metadata", result.run?.status ?? "");
    case "INVALID_METADATA":
      return appError("INVALID_METADATA", refusal.message);
    case "METADATA_TOO_LARGE": {
      const metadata = { got: String(refusal.bytes), allowed: String(item.bytesMax) };
      return appError("METADATA_TOO_LARGE", `Metadata exceeds maximum size of ${item.bytesMax} bytes`, { metadata });
    }
  }
}

/** The refusal of a chunk; undefined where there is none. */
export function streamRefusal(runId: string, refusal: StreamRefusal | undefined): AppError | undefined {
  switch (refusal?.reason) {
    case undefined:
      return undefined;
    case "unknown":
      return runNotFound(runId);
    case "stale":
      return staleLease(runId);
    case "final":
      return runFinal(runId, "metadata", "");
    case "tooLarge":
      return appError("METADATA_TOO_LARGE", refusal.message);
  }
}
