/** Objects in memory, for a store that keeps nothing either. */
import type { Payloads } from "./payloads.js";
import { verified } from "./verified.js";

export function createMemoryPayloads(nowMs: () => number): Payloads {
  const objects = new Map<string, { readonly bytes: Uint8Array; readonly writtenAtMs: number }>();
  return {
    driver: "memory",
    start: async () => undefined,
    stop: async () => objects.clear(),
    async write(object, body) {
      const chunks: Uint8Array[] = [];
      for await (const chunk of verified(object, body)) chunks.push(chunk);
      objects.set(object.key, { bytes: Buffer.concat(chunks), writtenAtMs: nowMs() });
    },
    async read(key) {
      const object = objects.get(key);
      return object === undefined ? undefined : once(object.bytes);
    },
    sizeOf: async (key) => objects.get(key)?.bytes.length,
    async copy(from, to) {
      const object = objects.get(from);
      if (object === undefined) return false;
      objects.set(to, { bytes: object.bytes, writtenAtMs: nowMs() });
      return true;
    },
    async remove(keys) {
      for (const key of keys) objects.delete(key);
    },
    async list({ after = "", limit }) {
      const keys = [...objects.keys()].filter((key) => key > after).toSorted();
      const page = keys.slice(0, limit);
      return {
        objects: page.map((key) => ({ key, writtenAtMs: objects.get(key)?.writtenAtMs ?? 0 })),
        next: keys.length > limit ? page.at(-1) : undefined,
      };
    },
    removeRemains: async () => 0,
  };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}
