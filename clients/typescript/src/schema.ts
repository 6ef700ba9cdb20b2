/**
 * Schemas of `schemaTask` (SCH-1, SCH-4): whatever can check a payload. A library's own throwing form is preferred, so that callers see its own
 * error (`ZodError`, `ValidationError` …); what has none goes through Standard Schema.
 */

/** https://standardschema.dev, version 1: zod, valibot, arktype and others have it. */
export interface StandardSchema<TInput = unknown, TOutput = TInput> {
  readonly "~standard": {
    readonly version: 1;
    readonly validate: (value: unknown) => StandardResult<TOutput> | Promise<StandardResult<TOutput>>;
    readonly types?: { readonly input: TInput; readonly output: TOutput } | undefined;
  };
}

type StandardResult<TOutput> =
  | { readonly value: TOutput; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] };

/** What a schema found wrong. */
export interface SchemaIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** yup. */
interface ValidatingSchema<T> {
  readonly __outputType: T;
  validate(value: unknown): Promise<T>;
}
/** superstruct. */
interface CreatingSchema<T> {
  create(value: unknown): T;
}
/** runtypes, and validators of the same shape. */
interface ParsingSchema<T> {
  parse(value: unknown): T;
}

/** A Standard Schema (zod, valibot, arktype …), a schema of yup, superstruct or runtypes, or a function that returns the payload or throws. */
export type Schema =
  | StandardSchema
  | ValidatingSchema<unknown>
  | CreatingSchema<unknown>
  | ParsingSchema<unknown>
  | ((value: unknown) => unknown);

/** What callers give: before defaults, coercions and transforms. */
export type SchemaInput<S> = S extends { readonly "~standard": { readonly types?: infer T } }
  ? NonNullable<T> extends { readonly input: infer I }
    ? I
    : unknown
  : SchemaOutput<S>;

/** What the run function gets. */
export type SchemaOutput<S> = S extends { readonly "~standard": { readonly types?: infer T } }
  ? NonNullable<T> extends { readonly output: infer O }
    ? O
    : unknown
  : S extends { readonly __outputType: infer T }
    ? T
    : S extends { create(value: unknown): infer T }
      ? T
      : S extends { parse(value: unknown): infer T }
        ? T
        : S extends (value: unknown) => infer T
          ? Awaited<T>
          : unknown;

/** A payload that a Standard Schema without an error of its own refused. */
export class SchemaValidationError extends Error {
  override readonly name = "SchemaValidationError";
  readonly issues: readonly SchemaIssue[];

  constructor(issues: readonly SchemaIssue[]) {
    super(issues.map(issueText).join("; "));
    this.issues = issues;
  }
}

/** Checks a value: resolves to the schema's output. Rejects with the validator's own error. */
export type ParseValue = (value: unknown) => Promise<unknown>;

/** @throws TypeError for what is no schema. */
export function parserOf(schema: unknown, taskId: string): ParseValue {
  const parseAsync = method(schema, "parseAsync");
  if (parseAsync !== undefined) return async (value) => parseAsync(value);
  const assert = typeof schema === "function" ? method(schema, "assert") : undefined;
  if (assert !== undefined) return async (value) => assert(value);
  for (const name of ["parse", "create"]) {
    const check = method(schema, name);
    if (check !== undefined) return async (value) => check(value);
  }
  const validate = method(schema, "validate");
  if (validate !== undefined) return async (value) => validate(value);
  if (isStandard(schema)) return (value) => standardValue(schema, value);
  if (typeof schema === "function") return async (value): Promise<unknown> => Reflect.apply(schema, undefined, [value]);
  throw new TypeError(
    `task "${taskId}": schema must be a Standard Schema (zod, valibot, arktype …), a schema of yup, superstruct or runtypes, or a function`,
  );
}

/** A method of a schema, bound to it. */
function method(schema: unknown, name: string): ((value: unknown) => unknown) | undefined {
  if ((typeof schema !== "object" && typeof schema !== "function") || schema === null) return undefined;
  const found: unknown = Reflect.get(schema, name);
  return typeof found === "function" ? (value): unknown => Reflect.apply(found, schema, [value]) : undefined;
}

function isStandard(schema: unknown): schema is StandardSchema {
  if ((typeof schema !== "object" && typeof schema !== "function") || schema === null) return false;
  const standard: unknown = Reflect.get(schema, "~standard");
  return typeof standard === "object" && standard !== null && "validate" in standard;
}

async function standardValue(schema: StandardSchema, value: unknown): Promise<unknown> {
  const result = await schema["~standard"].validate(value);
  if (result.issues !== undefined) throw new SchemaValidationError(result.issues);
  return result.value;
}

function issueText({ message, path = [] }: SchemaIssue): string {
  const keys = path.map((part) => String(typeof part === "object" ? part.key : part));
  return keys.length === 0 ? message : `${keys.join(".")}: ${message}`;
}
