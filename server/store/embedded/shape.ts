/** Sets of columns that statements name. */
import type { SqlValue } from "./database.js";

/**
 * A set of columns, as the text of a statement names them. Shapes are made once: statements are looked up by their text, and a text that
 * is built for every row would have to be hashed for every row.
 */
export class Shape {
  readonly columns: readonly string[];
  /** Separated by a comma and a blank. */
  readonly text: string;
  /** `a = ?, b = ?` */
  readonly assignments: string;
  readonly #longer = new Map<string, Shape>();

  constructor(columns: readonly string[]) {
    this.columns = columns;
    this.text = columns.join(", ");
    this.assignments = columns.map((column) => `${column} = ?`).join(", ");
  }

  /** This shape and one more column. */
  with(column: string): Shape {
    const known = this.#longer.get(column);
    if (known !== undefined) return known;
    const longer = new Shape([...this.columns, column]);
    this.#longer.set(column, longer);
    return longer;
  }
}

export const NO_COLUMNS = new Shape([]);

/** Columns and their values. */
export interface Assigned {
  readonly shape: Shape;
  readonly values: SqlValue[];
}
