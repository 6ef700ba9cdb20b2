/** Metadata of a live run changed from outside: all operations or none, each once for its writer (REQ-1, MET-11). */
import type { ChangeMetadata } from "../../store/store.js";
import type { EngineDeps, UpdateMetadataParams } from "../engine.js";
import { metadataRefusal } from "../metadata-refusal.js";
import { emitChanged } from "../moved.js";

export function createUpdateMetadata(deps: EngineDeps) {
  const { store, clock, limits } = deps;
  return async (params: UpdateMetadataParams): Promise<string> => {
    const { environment, runId, writer, requestId, firstSequence = 1 } = params;
    const name = writer ?? requestId;
    const item: ChangeMetadata = {
      environment,
      runId,
      // Apart from attempts of runs, whose operations are numbered by their workers.
      source: name === undefined ? undefined : `writer ${name}`,
      operations: params.operations.map((operation, index) => ({ sequence: firstSequence + index, operation })),
      attempt: undefined,
      isWhole: true,
      bytesMax: limits.metadataBytesMax,
      nowMs: clock.nowMs(),
    };
    const [result] = await store.changeMetadata([item]);
    if (result === undefined) throw new Error("the store answered fewer items than it was asked");
    if (result.kind === "refused") throw metadataRefusal(item, result) ?? new Error("a refusal has a reason");
    if (result.isChanged) emitChanged(deps, result.run);
    return result.metadataJson;
  };
}
