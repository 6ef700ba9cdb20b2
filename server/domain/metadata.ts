/** Metadata of a run (section 16): a JSON object that the run changes while it works. Kept and carried as JSON text. */
import { shown, type Violation } from "./error.js";
import { jsonKind } from "./json.js";
import type { Limits } from "./limits.js";
import { utf8Bytes } from "./text.js";

/** What is wrong with metadata: not the JSON of an object (MET-1), or too large (MET-2). */
export function metadataViolation(
  field: string,
  metadataJson: string,
  limits: Pick<Limits, "metadataBytesMax">,
): Violation | undefined {
  const { metadataBytesMax } = limits;
  const bytes = utf8Bytes(metadataJson);
  if (bytes > metadataBytesMax) {
    return {
      field,
      reason: "METADATA_TOO_LARGE",
      message: `Metadata exceeds maximum size of ${metadataBytesMax} bytes`,
      metadata: { got: String(bytes), allowed: String(metadataBytesMax) },
    };
  }
  const kind = jsonKind(metadataJson);
  if (kind === "object") {
    return undefined;
  }
  const got = kind === "malformed" ? shown(metadataJson) : kind;
  return {
    field,
    reason: "INVALID_METADATA",
    message: `Metadata must be a JSON object, got ${got}`,
    metadata: { got, allowed: "a JSON object" },
  };
}
