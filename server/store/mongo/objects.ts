/** Which objects of the payload store are named by no run (PAY-11). */
import { filterOf } from "./client.js";
import type { Context } from "./context.js";
import type { RunDoc } from "./run-doc.js";

export async function findUnnamedObjects(context: Context, keys: readonly string[]): Promise<readonly string[]> {
  if (keys.length === 0) return [];
  const docs = await context.runs.find(filterOf<RunDoc>({ objects: { $exists: true, $in: [...keys] } }), {
    projection: { objects: 1 },
  });
  const named = new Set(docs.flatMap(({ objects = [] }) => objects));
  return keys.filter((key) => !named.has(key));
}
