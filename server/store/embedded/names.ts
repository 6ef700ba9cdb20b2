/**
 * Environments and tasks by number, so that rows and indexes hold small integers. Numbers are never given again, and a name keeps its
 * number, so what is known here stays true until a transaction is rolled back: then everything is forgotten.
 */
import { type Database, numberAt, type Row, textAt } from "./database.js";

/** Names of one kind kept in memory before they are forgotten and read again: more than an installation has tasks. */
const KEPT_MAX = 20_000;

/** What was read, bounded. Looked up for every run, so keys are as they come and are not put together. */
class Known<K, V> {
  readonly #values = new Map<K, V>();

  get(key: K): V | undefined {
    return this.#values.get(key);
  }

  keep(key: K, value: V): V {
    if (this.#values.size >= KEPT_MAX) this.#values.clear();
    this.#values.set(key, value);
    return value;
  }

  clear(): void {
    this.#values.clear();
  }
}

export class Names {
  readonly #db: Database;
  readonly #environments = new Known<string, number>();
  readonly #tasks = new Known<number, Known<string, number>>();
  readonly #environmentNames = new Known<number, string>();
  readonly #taskNames = new Known<number, string>();
  readonly #queueNames = new Known<number, string>();

  constructor(db: Database) {
    this.#db = db;
  }

  /** The number of an environment; undefined where nothing was ever stored in it. */
  findEnvironment(name: string): number | undefined {
    const known = this.#environments.get(name);
    if (known !== undefined) return known;
    const row = this.#db.get("SELECT id FROM environments WHERE name = ?", name);
    return row === undefined ? undefined : this.#environments.keep(name, numberAt(row, 0));
  }

  environment(name: string): number {
    const found = this.findEnvironment(name);
    if (found !== undefined) return found;
    return this.#environments.keep(name, this.#db.insert("INSERT INTO environments (name) VALUES (?)", name));
  }

  findTask(env: number, name: string): number | undefined {
    const known = this.#tasks.get(env)?.get(name);
    if (known !== undefined) return known;
    const row = this.#db.get("SELECT id FROM tasks WHERE env = ? AND name = ?", env, name);
    return row === undefined ? undefined : this.#keepTask(env, name, numberAt(row, 0));
  }

  task(env: number, name: string): number {
    const found = this.findTask(env, name);
    if (found !== undefined) return found;
    return this.#keepTask(env, name, this.#db.insert("INSERT INTO tasks (env, name) VALUES (?, ?)", env, name));
  }

  environmentName(id: number): string {
    return (
      this.#environmentNames.get(id) ??
      this.#environmentNames.keep(id, nameIn(this.#db.get("SELECT name FROM environments WHERE id = ?", id)))
    );
  }

  taskName(id: number): string {
    return (
      this.#taskNames.get(id) ??
      this.#taskNames.keep(id, nameIn(this.#db.get("SELECT name FROM tasks WHERE id = ?", id)))
    );
  }

  queueName(id: number): string {
    return (
      this.#queueNames.get(id) ??
      this.#queueNames.keep(id, nameIn(this.#db.get("SELECT name FROM queues WHERE id = ?", id)))
    );
  }

  /** After a rollback: numbers given in it were not. */
  forget(): void {
    for (const known of [this.#environments, this.#tasks, this.#environmentNames, this.#taskNames, this.#queueNames]) {
      known.clear();
    }
  }

  #keepTask(env: number, name: string, id: number): number {
    const tasks = this.#tasks.get(env) ?? this.#tasks.keep(env, new Known<string, number>());
    return tasks.keep(name, id);
  }
}

function nameIn(row: Row | undefined): string {
  return textAt(row ?? [], 0);
}
