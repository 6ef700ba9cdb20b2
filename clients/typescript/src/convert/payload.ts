/** Values ⇄ payload messages. */
import { create } from "@bufbuild/protobuf";
import { type Payload, PayloadSchema } from "../gen/hairtrigger/v1/payload_pb.js";
import { decodeValue, encodeValue } from "../payload-codec.js";

/**
 * A value as it travels; undefined for the value `undefined`, which is no data.
 * @param root what the value is called in errors: `payload`, `output`.
 * @throws TypeError naming the path of what cannot be serialised (PAY-2).
 */
export function payloadMessage(value: unknown, root: string): Payload | undefined {
  const { json, jsonTypes } = encodeValue(value, root);
  if (json === undefined) return undefined;
  return create(PayloadSchema, { data: { case: "json", value: json }, jsonTypes: jsonTypes ?? "" });
}

/** The value that was sent; bytes for what is not JSON. A reference has no value here: its data is elsewhere. */
export function payloadValue(payload: Payload | undefined): unknown {
  const { data, jsonTypes } = payload ?? {};
  switch (data?.case) {
    case "json":
      return decodeValue({ json: data.value, jsonTypes });
    case "binary":
      return data.value;
    case "value":
    case "reference":
    case undefined:
      return undefined;
  }
}
