/**
 * Environments and tasks by number, so that rows and indexes hold small integers. Numbers are never given again, and a name keeps its
 * number, so what is known here stays true until a transaction is rolled back: then everything is forgotten.
 */
import { type Database, numberAt, textAt } from "./database.js";

/** Names kept in memory before they are forgotten and read again: more than an installation has tasks. */
const NAMES_MAX = 20_000;

export class Names {
  readonly #db: Database;
  readonly #numbers = new Map<string, number>();
  readonly #texts = new Map<string, string>();

  constructor(db: Database) {
    this.#db = db;
  }

  /** The number of an environment; undefined where nothing was ever stored in it. */
  findEnvironment(name: string): number | undefined {
    return this.#find(`e/${name}`, () => this.#db.get("SELECT id FROM environments WHERE name = ?", name));
  }

  environment(name: string): number {
    return (
      this.findEnvironment(name) ??
      this.#keep(`e/${name}`, this.#db.insert("INSERT INTO environments (name) VALUES (?)", name))
    );
  }

  findTask(env: number, name: string): number | undefined {
    return this.#find(`t/${env}/${name}`, () => {
      return this.#db.get("SELECT id FROM tasks WHERE env = ? AND name = ?", env, name);
    });
  }

  task(env: number, name: string): number {
    return (
      this.findTask(env, name) ??
      this.#keep(`t/${env}/${name}`, this.#db.insert("INSERT INTO tasks (env, name) VALUES (?, ?)", env, name))
    );
  }

  environmentName(id: number): string {
    return this.#text(`e/${id}`, () => this.#db.get("SELECT name FROM environments WHERE id = ?", id));
  }

  taskName(id: number): string {
    return this.#text(`t/${id}`, () => this.#db.get("SELECT name FROM tasks WHERE id = ?", id));
  }

  queueName(id: number): string {
    return this.#text(`q/${id}`, () => this.#db.get("SELECT name FROM queues WHERE id = ?", id));
  }

  /** After a rollback: numbers given in it were not. */
  forget(): void {
    this.#numbers.clear();
    this.#texts.clear();
  }

  #find(key: string, read: () => ReturnType<Database["get"]>): number | undefined {
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    const row = read();
    return row === undefined ? undefined : this.#keep(key, numberAt(row, 0));
  }

  #keep(key: string, id: number): number {
    if (this.#numbers.size >= NAMES_MAX) this.#numbers.clear();
    this.#numbers.set(key, id);
    return id;
  }

  #text(key: string, read: () => ReturnType<Database["get"]>): string {
    const known = this.#texts.get(key);
    if (known !== undefined) return known;
    const text = textAt(read() ?? [], 0);
    if (this.#texts.size >= NAMES_MAX) this.#texts.clear();
    this.#texts.set(key, text);
    return text;
  }
}
