/** The contract, kept by the MongoDB store, and what only this store promises. Needs a server at MONGODB_URI. */
import test from "ava";
import { testIf } from "../support/available.js";
import { mongoBatchCrashes } from "./mongo-batch-crashes.js";
import { mongoCrashes } from "./mongo-crashes.js";
import { mongoPlans } from "./mongo-plans.js";
import { mongoPromises } from "./mongo-promises.js";
import { mongoPushes } from "./mongo-pushes.js";
import { mongoSpeed } from "./mongo-speed.js";
import { mongoTokenCrashes } from "./mongo-token-crashes.js";
import { Databases, MONGODB_URI, mongoStore } from "./mongo-world.js";
import { storeContract } from "./store-contract.js";

if (MONGODB_URI === undefined) {
  testIf(false, "MONGODB_URI not set")("the contract of a store, kept on MongoDB", () => undefined);
} else {
  const databases = new Databases("store");
  storeContract("mongo", async () => {
    const name = await databases.take();
    return { store: mongoStore(name), dispose: () => databases.giveBack(name) };
  });
  mongoPromises(databases);
  mongoCrashes(databases);
  mongoTokenCrashes(databases);
  mongoPushes(databases);
  mongoSpeed(databases);
  mongoPlans(databases);
  mongoBatchCrashes(databases);
  test.after.always(() => databases.drop());
}
