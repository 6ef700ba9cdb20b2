/** The servers that share the database: one small document each, renewed every few seconds. */
import type { ServerRecord, SharedStore } from "../store.js";
import type { Client, Identified } from "./client.js";

interface ServerDoc extends Identified {
  readonly address: string;
  readonly lastSeenMs: number;
}

/** Servers that did not say good-bye are forgotten after this long; nobody sends them anything after seconds. */
const KEPT_MS = 24 * 3_600_000;

export function createServers(client: Client): SharedStore {
  const servers = client.table<ServerDoc>("servers");
  const entered = new Set<string>();
  return {
    async announceServer({ id, address, lastSeenMs }) {
      await servers.bulk([
        { updateOne: { filter: { _id: id }, update: { $set: { address, lastSeenMs } }, upsert: true } },
      ]);
      if (entered.has(id)) return;
      entered.add(id);
      await servers.deleteMany({ lastSeenMs: { $lt: lastSeenMs - KEPT_MS } });
    },
    async listServers(sinceMs) {
      const docs = await servers.find({ lastSeenMs: { $gte: sinceMs } });
      return docs.map(({ _id: id, address, lastSeenMs }): ServerRecord => ({ id, address, lastSeenMs }));
    },
    async removeServer(serverId) {
      await servers.deleteMany({ _id: serverId });
    },
  };
}
