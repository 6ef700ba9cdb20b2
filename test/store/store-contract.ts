/**
 * The contract of a store: the promises of server/store/store.ts, told through the port only, the same for every store.
 * A store is registered with {@link storeContract} in a test file of its own.
 */
import test, { type ExecutionContext } from "ava";
import type { Store } from "../../server/store/store.js";
import { batchPromises } from "./batch-promises.js";
import { claimPromises } from "./claim-promises.js";
import { debouncePromises } from "./debounce-promises.js";
import { dutyPromises } from "./duty-promises.js";
import { historyPromises } from "./history-promises.js";
import { insertPromises } from "./insert-promises.js";
import { keyPromises } from "./key-promises.js";
import { listPromises } from "./list-promises.js";
import { machinePromises } from "./machine-promises.js";
import { metadataPromises } from "./metadata-promises.js";
import { objectPromises } from "./object-promises.js";
import { queuePromises } from "./queue-promises.js";
import { secretKeyPromises } from "./secret-key-promises.js";
import { sessionPromises } from "./session-promises.js";
import { streamPromises } from "./stream-promises.js";
import { tokenPromises } from "./token-promises.js";
import { waitPromises } from "./wait-promises.js";
import { World } from "./world.js";

/** A store that is not started yet; `dispose` removes what it leaves behind. */
export interface StoreUnderTest {
  readonly store: Store;
  readonly dispose: () => Promise<void>;
}

export type MakeStore = () => Promise<StoreUnderTest>;

/** Registers a promise: its title begins with the ids of its rules. */
export type Promises = (title: string, tell: (t: ExecutionContext, world: World) => Promise<void>) => void;

/** @param name told with every title: which store kept or broke the promise. */
export function storeContract(name: string, makeStore: MakeStore): void {
  const promise: Promises = (title, tell) => {
    test(`${title} (${name})`, async (t) => {
      const { store, dispose } = await makeStore();
      try {
        await store.start();
        await tell(t, new World(store));
      } finally {
        await store.stop();
        await dispose();
      }
    });
  };
  insertPromises(promise);
  keyPromises(promise);
  batchPromises(promise);
  debouncePromises(promise);
  metadataPromises(promise);
  streamPromises(promise);
  claimPromises(promise);
  queuePromises(promise);
  machinePromises(promise);
  dutyPromises(promise);
  sessionPromises(promise);
  waitPromises(promise);
  listPromises(promise);
  historyPromises(promise);
  tokenPromises(promise);
  secretKeyPromises(promise);
  objectPromises(promise);
}
