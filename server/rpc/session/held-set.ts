/**
 * The leases that a worker should hold after each message sent to it, as count and checksum (worker.proto, Heartbeat). A heartbeat says the
 * same of the worker's side; if they differ, a message was misunderstood or forgotten somewhere, and a new hello sorts it out.
 */
export interface HeldSet {
  add(lease: Uint8Array): void;
  remove(lease: Uint8Array): void;
  /** Begins anew with what a hello lists. */
  reset(leases: readonly Uint8Array[]): void;
  /** Remembers the state as that after message `sequence`. */
  mark(sequence: number): void;
  /** Whether a worker that has processed message `sequence` should say this. True where that is no longer known; false for a message that was never sent. */
  matches(sequence: number, count: number, checksum: bigint): boolean;
}

/** Marks of messages that no heartbeat has named yet: at the fastest pace, hours of silence. Older ones are forgotten. */
const MARKS_MAX = 10_000;

interface Mark {
  readonly count: number;
  readonly high: number;
  readonly low: number;
}

export function createHeldSet(): HeldSet {
  const held = new Map<string, Hash>();
  const marks = new Map<number, Mark>([[0, { count: 0, high: 0, low: 0 }]]);
  let latest = 0;
  let high = 0;
  let low = 0;

  function mix(hash: Hash): void {
    high = (high ^ hash.high) >>> 0;
    low = (low ^ hash.low) >>> 0;
  }

  function add(lease: Uint8Array): void {
    const key = keyOf(lease);
    if (held.has(key)) return;
    const hash = fnv1a64(lease);
    held.set(key, hash);
    mix(hash);
  }

  return {
    add,
    remove(lease) {
      const key = keyOf(lease);
      const hash = held.get(key);
      if (hash === undefined) return;
      held.delete(key);
      mix(hash);
    },
    reset(leases) {
      held.clear();
      marks.clear();
      high = 0;
      low = 0;
      for (const lease of leases) add(lease);
    },
    mark(sequence) {
      latest = sequence;
      marks.set(sequence, { count: held.size, high, low });
      const oldest = marks.keys().next();
      if (marks.size > MARKS_MAX && oldest.done !== true) marks.delete(oldest.value);
    },
    matches(sequence, count, checksum) {
      if (sequence > latest) return false;
      const mark = marks.get(sequence);
      if (mark === undefined) return true;
      for (const known of marks.keys()) {
        if (known >= sequence) break;
        marks.delete(known);
      }
      return mark.count === count && (BigInt(mark.high) << 32n) + BigInt(mark.low) === checksum;
    },
  };
}

function keyOf(lease: Uint8Array): string {
  return Buffer.from(lease.buffer, lease.byteOffset, lease.byteLength).toString("latin1");
}

/** 64 bits in two halves: a BigInt per byte would cost 20 times as much. */
export interface Hash {
  readonly high: number;
  readonly low: number;
}

/** FNV-1a with the 64-bit prime 2^40 + 0x1b3. */
export function fnv1a64(bytes: Uint8Array): Hash {
  let high = 0xcbf29ce4;
  let low = 0x84222325;
  for (const byte of bytes) {
    low = (low ^ byte) >>> 0;
    const product = low * 0x1b3;
    high = (Math.imul(high, 0x1b3) + Math.floor(product / 0x1_0000_0000) + (low << 8)) >>> 0;
    low = product >>> 0;
  }
  return { high, low };
}
