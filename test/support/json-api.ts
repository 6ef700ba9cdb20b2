/** Calls by plain JSON, as a browser or a shell makes them. */
import type { JsonValue } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { errorFromJson } from "@connectrpc/connect/protocol-connect";
import { type JsonObject, type Refusal, refusalOf } from "./api.js";

/**
 * The answer to a call.
 * @param method such as `hairtrigger.v1.RunService/TriggerTask`.
 * @throws ConnectError where the call is refused.
 */
export async function callJson(
  url: string,
  method: string,
  credential: string,
  body: JsonObject,
): Promise<Readonly<Record<string, unknown>>> {
  const answer = await fetch(`${url}/${method}`, {
    method: "POST",
    headers: { authorization: `Bearer ${credential}`, "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const json: JsonValue = JSON.parse(await answer.text());
  if (!answer.ok) throw errorFromJson(json, undefined, new ConnectError("no error", Code.Unknown));
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw new Error("the answer is no object");
  return json;
}

/** What a call was refused with; a call that succeeds is an error of the test. */
export async function refusalJson(url: string, method: string, credential: string, body: JsonObject): Promise<Refusal> {
  try {
    await callJson(url, method, credential, body);
  } catch (error) {
    if (error instanceof ConnectError) return refusalOf(error);
    throw error;
  }
  throw new Error(`${method} was not refused`);
}
