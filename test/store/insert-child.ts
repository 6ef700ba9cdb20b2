/**
 * A process that triggers as fast as it can and prints the id of every run that was acknowledged; its parent kills it.
 * `node insert-child.js <directory>`.
 */
import { createEmbeddedStore } from "../../server/store/embedded/embedded-store.js";
import { World } from "./world.js";

const CALLERS = 32;

const [, , directory = ""] = process.argv;
const store = createEmbeddedStore({ directory });
await store.start();
console.log("started");
const world = new World(store);
// Ids of a process that was killed before are not given again.
world.nowMs += process.pid;
await Promise.all(
  Array.from({ length: CALLERS }, async (_, caller) => {
    for (let index = 0; ; index += 1) {
      // Every other run has more than a row.
      const options =
        index % 2 === 0
          ? {}
          : { spec: new Uint8Array(4_000), tags: ["t"], key: world.key(`${process.pid}-${caller}-${index}`) };
      console.log(await world.trigger(options));
    }
  }),
);
