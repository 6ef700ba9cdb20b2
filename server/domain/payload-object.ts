/**
 * Objects of the payload store, and the references by which runs name them (PAY-3).
 *
 * A key says whose the object is and what is in it: `<environment>/<run id>/<payload|output>-<16 random hex>-<SHA-256 as hex>`. So a
 * reference of another run is known for what it is without a look at any record, and what was put can be checked against its own name.
 * Each object is named by one run: a replay gets a copy of its own, so that no purge has to ask who else needs it.
 */
/** What the bytes of an object are; where `json` stands for any JSON value but a text. */
export type ObjectForm = "json" | "text" | "binary";

/** What a run holds in the place of its data. */
export interface ObjectReference {
  /** Name of the driver that holds it. */
  readonly driver: string;
  readonly key: string;
  readonly sizeBytes: number;
  /** 32 bytes. */
  readonly sha256: Uint8Array;
  readonly form: ObjectForm;
}

export interface ObjectName {
  readonly environment: string;
  readonly runId: string;
  readonly kind: "payload" | "output";
  /** 64 hex characters. */
  readonly sha256: string;
}

const KEY = /^([a-z0-9-]{1,64})\/(run_[0-9a-z]{26})\/(payload|output)-[0-9a-f]{16}-([0-9a-f]{64})$/;

/** Random bytes of a key: two uploads of one content by one run stay apart. */
export const OBJECT_RANDOM_BYTES = 8;

/** @param random {@link OBJECT_RANDOM_BYTES} bytes. */
export function objectKey(
  name: Omit<ObjectName, "sha256"> & { readonly sha256: Uint8Array },
  random: Uint8Array,
): string {
  return `${name.environment}/${name.runId}/${name.kind}-${hex(random)}-${hex(name.sha256)}`;
}

/** What a key says; undefined for a text that is no key of ours. */
export function parseObjectKey(key: string): ObjectName | undefined {
  const [, environment, runId, kind, sha256] = KEY.exec(key) ?? [];
  if (environment === undefined || runId === undefined || sha256 === undefined) return undefined;
  if (kind !== "payload" && kind !== "output") return undefined;
  return { environment, runId, kind, sha256 };
}

/**
 * Why a reference that a worker reports is not taken; undefined if nothing but the object itself is left to be looked at.
 * @param driver the one in force.
 */
export function referenceMistake(
  reference: ObjectReference,
  owner: { readonly environment: string; readonly runId: string; readonly driver: string },
): string | undefined {
  const name = parseObjectKey(reference.key);
  const isOwn =
    name !== undefined &&
    name.kind === "output" &&
    name.environment === owner.environment &&
    name.runId === owner.runId &&
    reference.driver === owner.driver;
  if (!isOwn) return "The output names no object that this run was given a URL for";
  return name.sha256 === hex(reference.sha256) ? undefined : "The output has another digest than its upload";
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
