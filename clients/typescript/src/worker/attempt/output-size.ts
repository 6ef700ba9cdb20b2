import type { Payload } from "../../gen/hairtrigger/v1/payload_pb.js";

/** Bytes of an output as PAY-6 counts them: UTF-8 of the JSON text, of a string its own bytes; annotations are not counted. */
export function outputBytes(output: Payload | undefined): number {
  if (output?.data.case !== "json") return 0;
  const json = output.data.value;
  const bytes = Buffer.byteLength(json);
  // Only a string begins with a quote. Its quotes and escapes are parsed away once it is large enough for them to matter.
  if (bytes < STRING_EXACT_FROM || !json.startsWith('"')) return bytes;
  const text: unknown = JSON.parse(json);
  return typeof text === "string" ? Buffer.byteLength(text) : bytes;
}

const STRING_EXACT_FROM = 64 * 1_024;
