/** The contract, kept by the embedded store: in memory in the caller's thread, and in a file behind its threads. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createEmbeddedStore } from "../../server/store/embedded/embedded-store.js";
import { storeContract } from "./store-contract.js";

/** Stores with threads that live at one time; AVA starts all tests of a file together. */
const FILES_AT_ONCE = 4;

let free = FILES_AT_ONCE;
const waiting: (() => void)[] = [];

async function enter(): Promise<void> {
  if (free > 0) free -= 1;
  else await new Promise<void>((resolve) => waiting.push(resolve));
}

function leave(): void {
  const next = waiting.shift();
  if (next === undefined) free += 1;
  else next();
}

storeContract("memory", async () => ({
  store: createEmbeddedStore({ directory: ":memory:" }),
  dispose: async () => undefined,
}));

storeContract("file", async () => {
  await enter();
  const directory = await mkdtemp(join(tmpdir(), "hairtrigger-store-"));
  return {
    store: createEmbeddedStore({ directory }),
    dispose: async () => {
      leave();
      await rm(directory, { recursive: true, force: true });
    },
  };
});
