/** From an address to a driver. Those that need a package load it only then. */
import type { PayloadsAddress } from "./address.js";
import { createFilePayloads } from "./file.js";
import { createMemoryPayloads } from "./memory.js";
import type { Payloads } from "./payloads.js";

export interface OpenParams {
  readonly nowMs: () => number;
  /** Of the database that the store is in; undefined: there is none. */
  readonly gridfs: (() => Payloads) | undefined;
}

/** @throws Error for GridFS without a database, and for S3 without its packages. */
export async function openPayloads(address: PayloadsAddress, { nowMs, gridfs }: OpenParams): Promise<Payloads> {
  switch (address.kind) {
    case "memory":
      return createMemoryPayloads(nowMs);
    case "file":
      return createFilePayloads(address.directory);
    case "gridfs":
      if (gridfs === undefined) throw new Error("payloads in GridFS need a store in MongoDB");
      return gridfs();
    case "s3": {
      const { createS3Payloads } = await import("./s3.js");
      return createS3Payloads(address.options);
    }
  }
}
