/** Why a command failed, for a person, and the exit code that says so to a script. Errors are told apart by what they carry, so that this needs no SDK. */
import { CommandError, EXIT } from "./exit-codes.js";

export function explain(error: unknown): { readonly message: string; readonly exitCode: number } {
  if (error instanceof CommandError) return { message: error.message, exitCode: error.exitCode };
  if (!(error instanceof Error)) return { message: String(error), exitCode: EXIT.failed };
  if (error.name === "ApiClientMissingError") {
    const message = `${error.message}; or run this where the server keeps its store, or name it by --store`;
    return { message, exitCode: EXIT.unauthenticated };
  }
  const reason = "reason" in error && typeof error.reason === "string" ? ` (${error.reason})` : "";
  return { message: `${error.message}${reason}`, exitCode: exitCodeOf(error) };
}

function exitCodeOf(error: Error): number {
  const code = "code" in error ? error.code : undefined;
  const reason = "reason" in error ? error.reason : undefined;
  switch (code) {
    case "unauthenticated":
      return EXIT.unauthenticated;
    case "unavailable":
    case "deadline_exceeded":
      return reason === undefined ? EXIT.unreachable : EXIT.failed;
    case "invalid_argument":
      return EXIT.usage;
    default:
      return EXIT.failed;
  }
}
