/** How a command ends, for scripts. */
export const EXIT = {
  ok: 0,
  /** The run did not complete, the object does not exist, or the service refused the call. */
  failed: 1,
  /** The command line, a setting or a task file is wrong. */
  usage: 2,
  /** Nobody answers at the address. */
  unreachable: 3,
  /** No key, or one that is not accepted. */
  unauthenticated: 4,
  /** A second signal. */
  cutOff: 130,
} as const;

/** Ends the command with a message for a person and a code for a script. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly exitCode: number;

  constructor(message: string, exitCode: number) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** A mistake of whoever typed the command. */
export function usageError(message: string): CommandError {
  return new CommandError(message, EXIT.usage);
}
