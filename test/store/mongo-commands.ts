/** What a store sends to its database, seen by the driver's command monitoring. */
import type { CommandStartedEvent, Document } from "mongodb";
import type { MongoStore } from "../../server/store/mongo/mongo-store.js";

const READS: ReadonlySet<string> = new Set(["find", "aggregate", "getMore", "count", "distinct"]);
const WRITES: ReadonlySet<string> = new Set(["insert", "update", "delete", "findAndModify"]);

export class Commands {
  readonly reads: Document[] = [];
  readonly writes: Document[] = [];

  constructor({ driver }: MongoStore) {
    driver.on("commandStarted", ({ commandName, command }: CommandStartedEvent) => {
      if (READS.has(commandName)) this.reads.push(command);
      if (WRITES.has(commandName)) this.writes.push(command);
    });
  }

  /** Round trips of what `work` does. */
  async count(work: () => Promise<unknown>): Promise<number> {
    const before = this.reads.length + this.writes.length;
    await work();
    return this.reads.length + this.writes.length - before;
  }
}
