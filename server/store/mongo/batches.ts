/** Batches (design 6): comes with the next step; until then this store refuses them, as a store that cannot be written. */
import { storeUnavailable } from "../../domain/error.js";
import type { Store } from "../store.js";
import type { Context } from "./context.js";

function absent(): Promise<never> {
  return Promise.reject(storeUnavailable(new Error("batches are not kept in a database yet")));
}

type Verb<Name extends keyof Store> = Store[Name] extends (argument: infer A) => infer R
  ? (context: Context, argument: A) => R
  : never;

export const insertBatch: Verb<"insertBatch"> = absent;
export const readBatches: Verb<"readBatches"> = absent;
export const readBatchItems: Verb<"readBatchItems"> = absent;
export const sealBatches: Verb<"sealBatches"> = absent;
export const findBatches: Verb<"findBatches"> = absent;
export const doneBatches: Verb<"doneBatches"> = absent;
