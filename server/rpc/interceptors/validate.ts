/**
 * The structural rules of the proto files (design 3), for every protocol: required, finite, enum known, id pattern. Limits that an operator
 * can change are the domain's. The validator takes about 50 ms to load and its rules 120 ms to compile, so both happen after the port is open.
 */
import { create, type DescMessage, type Message, type MessageShape } from "@bufbuild/protobuf";
import type { Path } from "@bufbuild/protobuf/reflect";
import type { Validator } from "@bufbuild/protovalidate";
import type { Interceptor } from "@connectrpc/connect";
import { TriggerTaskRequestSchema } from "#proto/hairtrigger/v1/run_service_pb.js";
import { OpenSessionRequestSchema } from "#proto/hairtrigger/worker/v1/worker_service_pb.js";
import { rejectIfAny, type Violation } from "../../domain/error.js";

let validator: Validator | undefined;
const patterns = new Map<string, RegExp>();

/**
 * Loads the validator and compiles the rules of the busiest messages, so that their first caller does not wait for it. Calls that come before
 * it has resolved wait. Idempotent.
 */
export async function prepareValidation(): Promise<void> {
  const { createValidator } = await import("@bufbuild/protovalidate");
  // Patterns come from our own proto files, never from a caller: the platform's engine is safe for them, and faster.
  validator ??= createValidator({ regexMatch: matches });
  violationsOf(TriggerTaskRequestSchema, create(TriggerTaskRequestSchema));
  violationsOf(OpenSessionRequestSchema, create(OpenSessionRequestSchema));
}

/** All that is wrong with a message. @param prefix path of the message in the request, such as `items[3]`. */
export function violationsOf<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
  prefix = "",
): readonly Violation[] {
  if (validator === undefined) throw new Error("messages are validated after prepareValidation()");
  const result = validator.validate(schema, message);
  switch (result.kind) {
    case "valid":
      return [];
    case "invalid":
      return result.violations.map((violation): Violation => {
        const field = [prefix, pathText(violation.field)].filter((part) => part !== "").join(".");
        return {
          field,
          reason: "INVALID_REQUEST",
          message: field === "" ? violation.message : `${field}: ${violation.message}`,
        };
      });
    case "error":
      throw result.error;
  }
}

/** @throws AppError INVALID_REQUEST with every violation. */
export function requireValid<Desc extends DescMessage>(schema: Desc, message: MessageShape<Desc>): void {
  rejectIfAny(violationsOf(schema, message));
}

/** @param isExempt messages whose handler validates them itself, together with the domain's rules. */
export function validate(isExempt: (schema: DescMessage) => boolean): Interceptor {
  return (next) => async (request) => {
    // Also for exempt messages: their handlers ask for violations without waiting.
    if (validator === undefined) await prepareValidation();
    const schema: DescMessage = request.method.input;
    if (isExempt(schema)) return next(request);
    if (request.stream) return next({ ...request, message: checked(schema, request.message) });
    requireValid(schema, request.message);
    return next(request);
  };
}

async function* checked<T extends Message>(schema: DescMessage, messages: AsyncIterable<T>): AsyncIterable<T> {
  for await (const message of messages) {
    requireValid(schema, message);
    yield message;
  }
}

function matches(pattern: string, against: string): boolean {
  let regexp = patterns.get(pattern);
  if (regexp === undefined) {
    regexp = new RegExp(pattern, "u");
    patterns.set(pattern, regexp);
  }
  return regexp.test(against);
}

/** In JSON spelling: `items[3].options.delay`. */
function pathText(path: Path): string {
  let text = "";
  for (const part of path) {
    switch (part.kind) {
      case "list_sub":
        text += `[${part.index}]`;
        break;
      case "map_sub":
        text += `[${JSON.stringify(String(part.key))}]`;
        break;
      case "field":
        text += `${text === "" ? "" : "."}${part.jsonName}`;
        break;
      case "oneof":
        text += `${text === "" ? "" : "."}${part.localName}`;
        break;
      case "extension":
        text += `[${part.typeName}]`;
        break;
    }
  }
  return text;
}
