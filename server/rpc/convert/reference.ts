/** References to objects of the payload store: message ⇄ domain. */
import { create } from "@bufbuild/protobuf";
import { PayloadForm, type PayloadReference, PayloadReferenceSchema } from "#proto/hairtrigger/v1/payload_pb.js";
import type { ObjectForm, ObjectReference } from "../../domain/payload-object.js";

const FORMS = {
  [PayloadForm.UNSPECIFIED]: "json",
  [PayloadForm.JSON]: "json",
  [PayloadForm.TEXT]: "text",
  [PayloadForm.BINARY]: "binary",
} as const satisfies Readonly<Record<PayloadForm, ObjectForm>>;

const WIRE_FORMS = {
  json: PayloadForm.JSON,
  text: PayloadForm.TEXT,
  binary: PayloadForm.BINARY,
} as const satisfies Readonly<Record<ObjectForm, PayloadForm>>;

export function referenceOfWire({ driver, key, sizeBytes, sha256, form }: PayloadReference): ObjectReference {
  return { driver, key, sizeBytes: Number(sizeBytes), sha256, form: FORMS[form] ?? "json" };
}

export function wireReference({ driver, key, sizeBytes, sha256, form }: ObjectReference): PayloadReference {
  return create(PayloadReferenceSchema, { driver, key, sizeBytes: BigInt(sizeBytes), sha256, form: WIRE_FORMS[form] });
}
