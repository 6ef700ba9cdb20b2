/** `skip_fields` of watching calls: members of a run that the watcher does not want (RUN-25). */
import type { DescField } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import { type Run, RunSchema } from "#proto/hairtrigger/v1/run_pb.js";
import { invalidRequest, shown } from "../../domain/error.js";

/** Always shown. */
const KEPT: readonly string[] = ["id", "status"];
/** Not in watched runs. */
const UNWATCHED: readonly string[] = ["logs", "related_runs"];

/** @throws AppError INVALID_REQUEST for names that no field has. */
export function fieldsToSkip(names: readonly string[]): readonly DescField[] {
  const skipped = names.map((name, index) => {
    const field = RunSchema.fields.find((candidate) => candidate.name === name || candidate.jsonName === name);
    if (field !== undefined) return field;
    const got = shown(name);
    throw invalidRequest(`skipFields[${index}]`, `Run has no field ${got}`, { got });
  });
  const unwatched = RunSchema.fields.filter(({ name }) => UNWATCHED.includes(name));
  return [...skipped.filter(({ name }) => !KEPT.includes(name)), ...unwatched];
}

/** The run without these fields; changes `run`, which is the caller's own. */
export function withoutFields(run: Run, fields: readonly DescField[]): Run {
  const view = reflect(RunSchema, run);
  for (const field of fields) view.clear(field);
  return run;
}
