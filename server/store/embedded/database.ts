/**
 * One connection to the file, with its prepared statements. Nothing else in this folder touches the driver.
 *
 * Statements are prepared once per text and kept for the life of the connection; rows come back as arrays, because a run has some fifty
 * columns and an object per row costs more than the query.
 */
import { DatabaseSync, type DatabaseSyncInstance, type StatementSyncInstance } from "@photostructure/sqlite";

export type SqlValue = null | number | string | Uint8Array;
export type Row = readonly SqlValue[];

export interface OpenOptions {
  /** A file, or `:memory:`. */
  readonly location: string;
  readonly isReadOnly: boolean;
  /** How long to wait for another connection's lock. */
  readonly busyMs?: number;
}

/** Only the reader can meet another one's lock, while the writer recovers the log. */
const BUSY_MS = 5_000;

/** Kept statements; the shapes of changed columns are the only unbounded part, and far fewer than this in practice. */
const STATEMENTS_MAX = 500;

export class Database {
  readonly #connection: DatabaseSyncInstance;
  readonly #statements = new Map<string, StatementSyncInstance>();

  constructor(options: OpenOptions) {
    this.#connection = new DatabaseSync(options.location, {
      readOnly: options.isReadOnly,
      timeout: options.busyMs ?? BUSY_MS,
      enableForeignKeyConstraints: false,
    });
  }

  /** Whether a transaction is open. SQLite ends one by itself on some errors, such as a full disk. */
  get isTransaction(): boolean {
    return this.#connection.isTransaction;
  }

  /** Statements without parameters or rows: schema, pragmas, transaction control. */
  exec(sql: string): void {
    this.#connection.exec(sql);
  }

  get(sql: string, ...params: readonly SqlValue[]): Row | undefined {
    const row: Row | undefined = this.#statement(sql).get(...params);
    return row;
  }

  all(sql: string, ...params: readonly SqlValue[]): readonly Row[] {
    const rows: readonly Row[] = this.#statement(sql).all(...params);
    return rows;
  }

  /** @returns the number of rows changed. */
  run(sql: string, ...params: readonly SqlValue[]): number {
    return this.#statement(sql).run(...params).changes;
  }

  /** An INSERT of several rows: how many went in, and the row id of the last. */
  insertMany(sql: string, params: readonly SqlValue[]): { readonly count: number; readonly lastRow: number } {
    const { changes, lastInsertRowid } = this.#statement(sql).run(...params);
    return { count: changes, lastRow: Number(lastInsertRowid) };
  }

  /** @returns the row id given to the inserted row. */
  insert(sql: string, ...params: readonly SqlValue[]): number {
    return Number(this.#statement(sql).run(...params).lastInsertRowid);
  }

  close(): void {
    this.#statements.clear();
    this.#connection.close();
  }

  #statement(sql: string): StatementSyncInstance {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    if (this.#statements.size >= STATEMENTS_MAX) this.#statements.clear();
    const statement = this.#connection.prepare(sql);
    statement.setReturnArrays(true);
    this.#statements.set(sql, statement);
    return statement;
  }
}

// ── values of rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** @throws TypeError where the column holds something else: the file was not written by us. */
export function numberAt(row: Row, index: number): number {
  const value = row[index];
  if (typeof value !== "number") throw new TypeError(`column ${index} is no number`);
  return value;
}

export function optionalNumberAt(row: Row, index: number): number | undefined {
  const value = row[index];
  return typeof value === "number" ? value : undefined;
}

export function textAt(row: Row, index: number): string {
  const value = row[index];
  if (typeof value !== "string") throw new TypeError(`column ${index} is no text`);
  return value;
}

export function optionalTextAt(row: Row, index: number): string | undefined {
  const value = row[index];
  return typeof value === "string" ? value : undefined;
}

export function bytesAt(row: Row, index: number): Uint8Array {
  const value = row[index];
  if (!(value instanceof Uint8Array)) throw new TypeError(`column ${index} is no blob`);
  return value;
}

export function optionalBytesAt(row: Row, index: number): Uint8Array | undefined {
  const value = row[index];
  return value instanceof Uint8Array ? value : undefined;
}

export function hexToBytes(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, "hex"));
}

/** The same as a part of a shared buffer: cheaper, and not to be posted to a thread by itself, since all of the buffer would go along. */
export function hexToView(hex: string): Uint8Array {
  const { buffer, byteOffset, length } = Buffer.from(hex, "hex");
  return new Uint8Array(buffer, byteOffset, length);
}

export function bytesToHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex");
}

/** A list of texts that was stored as JSON; nothing stored is an empty one. */
export function textsOf(json: string | undefined): readonly string[] {
  const texts: unknown = json === undefined ? [] : JSON.parse(json);
  return Array.isArray(texts) ? texts.filter((text) => typeof text === "string") : [];
}
