/** What a JSON text is, without keeping what is in it. */

export type JsonKind = "object" | "array" | "string" | "number" | "boolean" | "null" | "malformed";

/** What a JSON text is at its top level; `malformed` if it is no JSON. */
export function jsonKind(text: string): JsonKind {
  const value = parseJson(text);
  if (value === undefined) {
    return "malformed";
  }
  if (value === null) {
    return "null";
  }
  if (Array.isArray(value)) {
    return "array";
  }
  const kind = typeof value;
  return kind === "string" || kind === "number" || kind === "boolean" ? kind : "object";
}

/** The value of a JSON text, or undefined, which no JSON text has. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
