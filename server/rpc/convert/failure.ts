/** Failures of runs: data in both directions (RES-5…7). */
import { create } from "@bufbuild/protobuf";
import { FailureSchema, type Failure as WireFailure, FailureKind as WireKind } from "#proto/hairtrigger/v1/run_pb.js";
import { type Failure, isFailureCode, trimFailure } from "../../domain/failure.js";

const KINDS = {
  error: WireKind.ERROR,
  string: WireKind.STRING,
  value: WireKind.VALUE,
  engine: WireKind.ENGINE,
} as const satisfies Readonly<Record<Failure["kind"], WireKind>>;

export function wireFailure(failure: Failure): WireFailure {
  return create(FailureSchema, {
    name: failure.name ?? "",
    message: failure.kind === "value" && failure.message === "" ? (failure.valueJson ?? "") : failure.message,
    stackTrace: failure.stack ?? "",
    code: failure.code ?? "",
    kind: KINDS[failure.kind],
    valueJson: failure.valueJson ?? "",
    cause: failure.cause === undefined ? undefined : wireFailure(failure.cause),
  });
}

/** As a worker reported it, trimmed (RES-6); a code that is none of ours is dropped. */
export function failureOfWire(failure: WireFailure): Failure {
  return trimFailure(decode(failure));
}

function decode(failure: WireFailure): Failure {
  const { name, message, stackTrace, code, valueJson, cause } = failure;
  return {
    kind: kindOf(failure),
    message,
    ...(name === "" ? {} : { name }),
    ...(stackTrace === "" ? {} : { stack: stackTrace }),
    ...(isFailureCode(code) ? { code } : {}),
    ...(valueJson === "" ? {} : { valueJson }),
    ...(cause === undefined ? {} : { cause: decode(cause) }),
  };
}

function kindOf({ kind, code }: WireFailure): Failure["kind"] {
  switch (kind) {
    case WireKind.STRING:
      return "string";
    case WireKind.VALUE:
      return "value";
    case WireKind.ENGINE:
      return isFailureCode(code) ? "engine" : "error";
    default:
      return "error";
  }
}
